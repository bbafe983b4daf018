"""The formulas of metrics: functions of features."""
