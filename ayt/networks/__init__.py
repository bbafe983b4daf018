"""Networks: preconditioned U-Nets and classifiers. They know nothing of training."""
