"""The report's page in headless Chromium, and pages that the same probe must find fault with."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--enable-logging=stderr",
)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PROBE = """
<script>
const faults = [];
window.addEventListener("error", event => faults.push(`error: ${event.message}`), true);
window.alert = text => faults.push(`alert: ${text}`);
document.addEventListener("securitypolicyviolation", event =>
  faults.push(`asked for: ${event.blockedURI}`));
function coloursOf(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, 64, 64);
  const pixels = context.getImageData(0, 0, 64, 64).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
}
window.addEventListener("load", () => {
  const root = document.documentElement;
  const found = {
    faults,
    window: window.innerWidth,
    page: root.scrollWidth,
    pictures: [...document.images].map(picture => ({
      natural: [picture.naturalWidth, picture.naturalHeight],
      shown: picture.getBoundingClientRect().width,
      colours: picture.naturalWidth ? coloursOf(picture) : 0,
    })),
  };
  const result = document.createElement("pre");
  result.textContent = "found " + JSON.stringify(found) + " end";
  root.replaceChildren(result);
});
</script>
"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]


def browse(page, tmp_path, width=1280):
    """Load a page; return its final elements, and what it wrote on the console."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def probe(text, tmp_path, width=1280):
    """Return what a script finds that is put into a page; nothing but its pictures may load."""
    assert text.count(POLICY) == text.count("<head>") == 1
    page = tmp_path / "probe.html"
    page.write_text(
        text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'").replace(
            "<head>", f"<head>{PROBE}"
        )
    )
    elements, _ = browse(page, tmp_path, width)
    return json.loads(html.unescape(re.search(r"found (\{.*\}) end", elements)[1]))


def test_page_says_nothing_on_the_console(page, tmp_path):
    elements, console = browse(page, tmp_path)
    assert "</footer>" in elements
    assert not console


@pytest.mark.parametrize("width", [1280, 500])
def test_page_shows_all_its_pictures_and_fits(page, tmp_path, width):
    found = probe(page.read_text(), tmp_path, width)
    assert not found["faults"]
    assert found["page"] <= found["window"] == width
    assert len(found["pictures"]) == len(list(page.parent.glob("*.png"))) > 6
    for picture in found["pictures"]:
        assert min(picture["natural"]) > 300
        assert picture["shown"] > 300
        assert picture["colours"] > 2


PICTURE = re.compile(r'src="data:image/png;base64,[^"]{200,}"')


@pytest.mark.parametrize(
    "added,fault",
    [
        ("<script>nothing.there()</script>", "error: Uncaught ReferenceError"),
        ('<img src="https://127.0.0.1/a.png">', "asked for: https://127.0.0.1/a.png"),
        ('<link rel="stylesheet" href="http://127.0.0.1/a.css">', "asked for: http://127.0.0.1"),
        ("<script>alert(1)</script>", "alert: 1"),
    ],
)
def test_the_probe_sees_faults(page, tmp_path, added, fault):
    text = PICTURE.sub("", page.read_text()).replace("</main>", f"{added}</main>")
    found = probe(text, tmp_path)
    assert any(line.startswith(fault) for line in found["faults"]), found["faults"]


def test_the_probe_sees_broken_pictures_and_overflow(page, tmp_path):
    text = PICTURE.sub('src="data:image/png;base64,iVBORw0KGgo="', page.read_text())
    text = text.replace("</main>", '<div style="width: 1500px">wide</div></main>')
    found = probe(text, tmp_path)
    assert {tuple(picture["natural"]) for picture in found["pictures"]} == {(0, 0)}
    assert found["page"] > found["window"] == 1280
