"""Figures from a table of scores small enough to check by hand."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ayt.base.errors import UserError
from ayt.datasets.cifar10 import Cifar10
from ayt.datasets.digits import Digits
from ayt.reporting import grids, style
from ayt.reporting.figures.curves import draw_curves, over_seeds
from ayt.reporting.figures.final import draw_final
from ayt.reporting.figures.samples import Row, draw_rows
from ayt.reporting.published import batch_size_curves
from ayt.reporting.score_plots import choose_steps


def table(seeds=(0, 1), methods=("ECT", "AYT"), label="{}"):
    """Scores 10 x (1 + seed) / iteration x 100, doubled for ECT and halved by a second step."""
    rows = []
    for method in methods:
        for batch_size in (8, 64):
            for seed in seeds:
                for iteration in (100, 200):
                    for steps in (1, 2):
                        mean = 1000 * (1 + seed) / iteration * (2 if method == "ECT" else 1) / steps
                        rows.append(
                            {
                                "dataset": "digits",
                                "run": f"{method}-{batch_size}-{seed}",
                                "method": method.lower(),
                                "label": label.format(method),
                                "batch_size": batch_size,
                                "seed": seed,
                                "iteration": iteration,
                                "images": iteration * batch_size,
                                "steps": steps,
                                "key": "frechet",
                                "metric": "FD (digits features)",
                                "better": "lower",
                                "mean": mean,
                                "std": 0.1,
                                "min": mean - 0.5,
                                "max": mean + 0.5,
                                "repeats": 3,
                                "samples": 1000,
                            }
                        )
    return pd.DataFrame(rows)


def row(frame, **where):
    for key, value in where.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame.iloc[0]


@pytest.mark.filterwarnings("error")  # matplotlib warns where panels have no room
@pytest.mark.parametrize("draw", [draw_curves, draw_final])
def test_runs_that_were_stopped_have_rings_and_where_none_was_nothing_changes(tmp_path, draw):
    draw(table(), tmp_path / "never", "")
    draw(table().assign(stopped=False), tmp_path / "none", "")
    draw(table().assign(stopped=lambda rows: rows["seed"] == 1), tmp_path / "some", "")
    never, none, some = ((tmp_path / f"{name}.png").read_bytes() for name in ("never", "none", "some"))
    assert never == none != some


def check_pictures(out):
    pixels = np.asarray(Image.open(out.with_suffix(".png")).convert("L"))
    assert pixels.shape[1] == 1400
    assert pixels.std() > 5
    assert out.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_curves_show_means_and_spread_over_seeds(tmp_path):
    draw_curves(table(), tmp_path / "a", "Title")
    check_pictures(tmp_path / "a")
    drawn = pd.read_csv(tmp_path / "a.csv")
    point = row(drawn, label="ECT", batch_size=8, steps=1, iteration=100)
    assert (point["mean"], point["low"], point["high"], point["seeds"]) == (30, 20, 40, 2)


def test_published_curves_are_drawn_as_far_as_ours_go(tmp_path):
    published = pd.DataFrame({"iteration": [100, 200, 300], "method": "ayt", "batch_size": 16, "fid": [9.0, 8, 7]})
    ours = table(seeds=(0,))
    for name, metric, theirs in (("fid", "FID", published), ("other", "FD", published), ("none", "FID", None)):
        draw_curves(ours.assign(metric=metric), tmp_path / name, "", theirs)
    pictures = {path.stem: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert len(set(pictures.values())) == 3
    assert b"300" not in (tmp_path / "fid.csv").read_bytes()
    draw_curves(ours.assign(metric="FID"), tmp_path / "cut", "", published[published["iteration"] <= 200])
    assert (tmp_path / "cut.png").read_bytes() == pictures["fid"]
    # Another dataset's scores have no published curves.
    assert batch_size_curves(Digits()).empty
    assert set(batch_size_curves(Cifar10())["method"]) == {"ect", "ayt"}


@pytest.fixture
def captions(monkeypatch):
    """What is said below figures."""
    said = []
    monkeypatch.setattr(style, "finish", lambda figure, out, title, caption, table: said.append(caption))
    return said


def test_with_one_seed_there_is_no_band_and_that_is_said(captions, tmp_path):
    alone = over_seeds(table(seeds=(0,)))
    assert alone[["low", "high"]].isna().all(axis=None)
    draw_curves(table(seeds=(0,)), tmp_path / "a", "")
    assert "one seed, so there are no bands" in captions[0]
    some = pd.concat([table(methods=("ECT",)), table(methods=("AYT",), seeds=(0,))])
    draw_curves(choose_steps(some, [1]), tmp_path / "a", "")
    assert "bands: lowest to highest of the seeds (one seed, no band: AYT)" in captions[1]


def test_the_band_may_span_the_sampling_runs(captions, tmp_path):
    point = row(over_seeds(table(seeds=(0,)), "repeats"), label="AYT", batch_size=8, iteration=200, steps=1)
    assert (point["mean"], point["low"], point["high"], point["seeds"]) == (5, 4.5, 5.5, 1)
    draw_curves(table(seeds=(0,)), tmp_path / "a", "", band="repeats")
    assert "bands: lowest to highest of the sampling runs" in captions[0]


def failing():
    """Scores of which those of ECT's second seed at batch size 8 are not finite at the end."""
    frame = table()
    bad = (frame["run"] == "ECT-8-1") & (frame["iteration"] == 200)
    frame.loc[bad, ["mean", "std", "min", "max"]] = np.nan
    return frame


def test_failures_are_crosses_not_gaps(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(style, "finish", lambda figure, *_: shown.append(figure))
    draw_curves(choose_steps(failing(), [1]), tmp_path / "a", "")
    draw_final(choose_steps(failing(), [1]), tmp_path / "a", "")
    for figure in shown:
        crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
        assert len(crosses) == 1
        assert len(crosses[0].get_xdata()) == 1
        assert "failed" in [text.get_text() for text in figure.legends[0].get_texts()]
    point = row(over_seeds(failing()), label="ECT", batch_size=8, steps=1, iteration=200)
    assert (point["mean"], point["seeds"], point["failed"]) == (10, 2, 1)
    assert np.isnan(point["low"])  # one seed is left


def test_final_shows_the_last_iteration(tmp_path):
    draw_final(table(), tmp_path / "a", "Title")
    check_pictures(tmp_path / "a")
    drawn = pd.read_csv(tmp_path / "a.csv")
    assert set(drawn["iteration"]) == {200}
    assert row(drawn, label="ECT", batch_size=64, seed=1, steps=2)["mean"] == 10


@pytest.mark.parametrize("draw", [draw_curves, draw_final])
def test_many_entries_of_a_legend_and_a_long_caption_have_room(tmp_path, monkeypatch, draw):
    drawn, finish = [], style.finish
    monkeypatch.setattr(style, "finish", lambda figure, *more: (finish(figure, *more), drawn.append(figure)))
    many = table(seeds=(0,), methods=[f"ECT (EMA power 0.{number:02d})" for number in range(14)])
    title = "A title that is about as long as titles of figures can be, and reaches over the place of a legend"
    draw(many, tmp_path / "short", title)
    draw(many, tmp_path / "long", "Title", notes="Each average is as good as any other. " * 60)
    heights = []
    for figure in drawn:
        renderer = figure.canvas.get_renderer()
        legend, caption = (part.get_window_extent(renderer) for part in (figure.legends[0], figure._supxlabel))
        assert legend.y1 <= figure._suptitle.get_window_extent(renderer).y0
        assert legend.y0 >= caption.y1
        assert legend.x0 >= max(panel.get_window_extent(renderer).x1 for panel in figure.axes)
        heights.append(figure.axes[0].get_window_extent(renderer).height / figure.dpi)
    assert min(heights) > 2  # inches


@pytest.mark.parametrize("draw", [draw_curves, draw_final])
@pytest.mark.parametrize("level", [0, 4000, -50])
def test_everything_drawn_can_be_seen(tmp_path, monkeypatch, draw, level):
    """Scores far apart (a logarithmic axis), close together (a linear one from 0), and below 0."""
    shown = []
    monkeypatch.setattr(style, "finish", lambda figure, *_: shown.append(figure))
    frame = table()
    frame[["mean", "min", "max"]] += level
    draw(frame, tmp_path / "a", "")
    (figure,) = shown
    for panel in figure.axes:
        low, high = panel.get_ylim()
        assert panel.lines
        assert all(low <= value < high for line in panel.lines for value in line.get_ydata())
        assert low == 0 or level != 4000


def test_what_is_drawn_is_what_the_csv_says(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(style, "finish", lambda figure, out, title, caption, table: shown.append((figure, table)))
    draw_curves(table(), tmp_path / "a", "")
    draw_final(table(), tmp_path / "b", "")
    (curves, curves_table), (final, final_table) = shown
    lines = [line for panel in curves.axes for line in panel.lines]
    assert sorted(np.concatenate([line.get_ydata() for line in lines])) == sorted(curves_table["mean"])
    bands = [band for panel in curves.axes for band in panel.collections]
    assert len(bands) == len(lines)
    edges = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in bands])
    assert {edges.min(), edges.max()} == {curves_table["low"].min(), curves_table["high"].max()}
    markers = [line for panel in final.axes for line in panel.lines if line.get_linestyle() == "None"]
    assert sorted(np.concatenate([line.get_ydata() for line in markers])) == sorted(final_table["mean"])


def test_the_same_figure_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw_curves(choose_steps(table(), [1]), tmp_path / name, "Title")
    for suffix in (".pdf", ".png", ".csv"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_grids_of_samples(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    rows = [
        Row(f"{label}\nbatch size 8", label, 8, f"run-{label}", 200, pixels)
        for label in ("ECT", "AYT", "class-label features")
    ]
    draw_rows(rows, tmp_path / "a", "Title", 10, "Caption.")
    check_pictures(tmp_path / "a")
    assert list(pd.read_csv(tmp_path / "a.csv")["run"]) == ["run-ECT", "run-AYT", "run-class-label features"]
    draw_rows(rows, tmp_path / "b", "Title", 10, "Caption.", smooth=True)
    check_pictures(tmp_path / "b")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_a_method_with_fewer_batch_sizes_leaves_a_gap(tmp_path):
    scores = table()
    draw_final(scores[(scores["label"] == "ECT") | (scores["batch_size"] == 8)], tmp_path / "a", "")
    check_pictures(tmp_path / "a")


def test_several_metrics_have_panels_of_their_own(tmp_path):
    one_step = choose_steps(table(), [1])
    draw_final(pd.concat([one_step.assign(metric=f"dFID (t = {t})") for t in (0.2, 0.8)]), tmp_path / "a", "")
    check_pictures(tmp_path / "a")


def test_missing_scores_and_samples_are_named(tmp_path):
    with pytest.raises(UserError, match="no scores with 4 sampling steps; there are scores with: 1, 2"):
        choose_steps(table(), [4])
    with pytest.raises(UserError, match="no run to show"):
        draw_rows([], tmp_path / "a", "", 8, "")


def test_small_images_are_enlarged_smoothly():
    edge = np.zeros((2, 3, 8, 8), np.uint8)
    edge[1, :, :, 4:] = 255
    large = grids.enlarge(edge)
    assert large.shape == (2, 3, 64, 64)
    assert not large[0].any()
    assert large[1, 0, 0, [0, 63]].tolist() == [0, 255]
    assert len(np.unique(large[1])) > 4  # values between black and white
    assert grids.enlarge(np.zeros((1, 1, 100, 100), np.uint8)).shape == (1, 1, 100, 100)


def test_grids_and_animations(tmp_path):
    pixels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2)
    grid = grids.tile(pixels, columns=3, scale=1)
    assert np.asarray(grid).tolist() == [
        [0, 1, 255, 4, 5, 255, 8, 9],
        [2, 3, 255, 6, 7, 255, 10, 11],
        [255] * 8,
        [12, 13, 255, 16, 17, 255, 255, 255],
        [14, 15, 255, 18, 19, 255, 255, 255],
    ]
    assert grids.tile(pixels).width >= 320
    grids.write_animation(tmp_path / "a.gif", [grid, grids.tile(255 - pixels, 3, 1)], ["one", "two"])
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 2
        assert animation.info["loop"] == 0


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (2.7, 25, ["5", "10", "20"]),
        (0.2, 19, ["0.2", "0.5", "1", "2", "5", "10"]),
        (0.01, 80, ["$\\mathdefault{10^{-2}}$", "$\\mathdefault{10^{-1}}$", "$\\mathdefault{10^{0}}$"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers_unless_there_would_be_many(low, high, shown):
    figure = style.new_figure(2)
    panel = figure.subplots()
    panel.plot([1, 2, 3], [low, -1, high])
    style.scale_logarithmically(panel, "y")
    figure.draw_without_rendering()
    (bottom, top) = panel.get_ylim()
    labels = {tick.get_loc(): tick.label1.get_text() for tick in panel.yaxis.get_major_ticks()}
    assert [text for place, text in sorted(labels.items()) if bottom <= place <= top][: len(shown)] == shown
    assert np.isnan(panel.yaxis.get_transform().transform([-1.0])).all()  # left out, not drawn at the edge
