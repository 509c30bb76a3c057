"""Which pages the service lists."""

from api.pages.documentation import SOURCE, contents, html_of, page_names

FOR_DEVELOPERS = {"architecture"}


def test_every_page_for_users_is_in_a_chapter() -> None:
    listed = [name for pages in contents().values() for name in pages]
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.stem for path in SOURCE.glob("*.md")} - FOR_DEVELOPERS


def test_links_out_of_the_documentation_are_text() -> None:
    for name in page_names():
        assert 'href="../' not in html_of(name) or name.startswith("decisions/"), name
