from logbox_pipeline_tests.formats.track_page import PAGE, TITLES, page


def test_the_page_about_the_track_says_what_the_mappings_say() -> None:
    assert PAGE.read_text() == page(), "python -m logbox_pipeline_tests.formats.track_page"


def test_every_format_with_a_track_is_on_it() -> None:
    assert all(f"(`{name}`)" in PAGE.read_text() for name in TITLES)
