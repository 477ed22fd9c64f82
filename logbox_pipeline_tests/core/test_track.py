"""The track's vocabulary: every column is commented, and says its unit."""

from logbox_pipeline.core.track import TRACK_COLUMNS, TRACK_COMMENTS


def test_every_column_has_a_comment() -> None:
    assert list(TRACK_COMMENTS) == TRACK_COLUMNS.names
    assert all(TRACK_COMMENTS.values())


def test_a_unit_in_the_name_is_the_unit_of_the_comment() -> None:
    units = {"_deg": "deg", "_m": "(m)", "_m_s": "m/s", "_v": "(V)", "_a": "(A)", "_pct": "percent"}
    for name, comment in TRACK_COMMENTS.items():
        suffix = max((s for s in units if name.endswith(s)), key=len, default=None)
        assert suffix is None or units[suffix] in comment, name
