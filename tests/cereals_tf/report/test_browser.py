"""The report's page in headless Chromium, and pages that the same probe must find fault with."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

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

function seen(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  const context = canvas.getContext("2d");
  if (picture.naturalWidth) context.drawImage(picture, 0, 0, 64, 64);
  const pixels = context.getImageData(0, 0, 64, 64).data;
  const colours = new Set(new Uint32Array(pixels.buffer)).size;
  return {natural: [picture.naturalWidth, picture.naturalHeight], colours};
}

// Pictures in drawings tell nothing of themselves; the same ones outside do.
const copies = [];
document.addEventListener("DOMContentLoaded", () => {
  for (const picture of document.querySelectorAll("image")) {
    const copy = new Image();
    copy.src = picture.getAttribute("href");
    copies.push(copy);
  }
});

// Colours as [red, green, blue, opacity], and one laid over another.
const parsed = text => [...text.matchAll(/[\\d.]+/g)].map(Number).concat(1).slice(0, 4);
const over = (above, below) =>
  [0, 1, 2].map(k => above[3] * above[k] + (1 - above[3]) * below[k]).concat(1);

function ground(element) {
  if (!element) return parsed(getComputedStyle(document.documentElement).backgroundColor);
  return over(parsed(getComputedStyle(element).backgroundColor), ground(element.parentElement));
}

// WCAG 2.2: relative luminance, and the contrast of two.
function luminance(colour) {
  const [r, g, b] = colour.slice(0, 3).map(value => value / 255).map(value =>
    value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(element) {
  const below = ground(element);
  const [low, high] = [below, over(parsed(getComputedStyle(element).color), below)]
    .map(luminance).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function texts() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode())
    if (walker.currentNode.data.trim() && walker.currentNode.parentElement.checkVisibility())
      found.push(walker.currentNode);
  return found;
}

// Words of the tables' first column that stand on more than one line.
function broken() {
  const found = [];
  for (const text of texts().filter(text => text.parentElement.closest(".name")))
    for (const word of text.data.matchAll(/[^\\s_-]+/g)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (range.getClientRects().length > 1) found.push(word[0]);
    }
  return found;
}

window.addEventListener("load", () => {
  const charts = [...document.images], panels = [...document.querySelectorAll(".panel svg")];
  const places = elements => elements.map(element => {
    const box = element.getBoundingClientRect();
    return [box.x, box.y, box.width, box.height];
  });
  parent.found({
    window: window.innerWidth,
    page: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    charts: places(charts),
    panels: places(panels),
    broken: broken(),
    faint: texts().map(text => text.parentElement).filter(element => contrast(element) < 4.5)
      .map(element => [element.outerHTML.slice(0, 200), contrast(element)]),
    pictures: charts.concat(copies).map(seen),
    faults,
  });
});
</script>
"""
FRAME = """<!doctype html>
<script>
function found(seen) {
  const result = document.createElement("pre");
  result.textContent = "found " + JSON.stringify(seen) + " end";
  document.documentElement.append(result);
}
</script>
<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe>
"""
"""Windows can't be as narrow as a phone; frames can."""

SCHEMES = {"dark": "0", "light": "1"}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed"),
]


def browse(page, folder, *options):
    """Load a page; return what is written, and the lines on its console."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def probe(text, folder, width=1280, scheme="light"):
    """Return what a script finds that is put into a page; nothing but its pictures may load."""
    assert text.count(POLICY) == text.count("<head>") == 1
    framed = text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    framed = html.escape(framed.replace("<head>", f"<head>{PROBE}"))
    page = folder / "probe.html"
    page.write_text(FRAME.replace("{width}", str(width)).replace("{page}", framed))
    written, _ = browse(
        page,
        folder,
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        "--dump-dom",
    )
    return json.loads(html.unescape(re.search(r"found (\{.*\}) end", written)[1]))


@pytest.fixture(scope="module")
def long_page(page):
    """The page with 16 rounds in its table of classes, and with long names there."""
    text = page.read_text()
    head, rest = text.split('<table id="classes-table"')
    table, tail = rest.split("</table>", 1)
    more = '<td style="background: rgba(var(--shade), 0.65)">1.000</td>'
    table = table.replace("</tr>", 14 * more + "</tr>")
    table = table.replace("motorcycle", "motorcycle or three-wheeled vehicle, parked elsewhere")
    return f'{head}<table id="classes-table"{table}</table>{tail}'


def test_page_says_nothing_on_the_console(page, tmp_path):
    elements, console = browse(page, tmp_path, "--dump-dom")
    assert "</footer>" in elements
    assert not console


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_and_can_be_read(long_page, tmp_path, width, scheme):
    found = probe(long_page, tmp_path, width, scheme)
    assert not found["faults"]
    assert found["page"] <= found["window"] == width
    assert not found["broken"]
    assert not found["faint"]
    assert len(found["pictures"]) > 30
    for picture in found["pictures"]:
        assert min(picture["natural"]) >= 8
        assert picture["colours"] > 1
    assert all(across > 250 for _, _, across, _ in found["charts"])
    assert all(across > 150 for _, _, across, _ in found["panels"])


def test_charts_are_as_dark_as_the_page(page, tmp_path):
    """A picture of the page in dark mode: of each chart, the ground and the ink on it."""
    charts = probe(page.read_text(), tmp_path, 1280, "dark")
    picture = tmp_path / "picture.png"
    browse(
        page,
        tmp_path,
        f"--blink-settings=preferredColorScheme={SCHEMES['dark']}",
        f"--window-size=1280,{charts['height']}",
        f"--screenshot={picture}",
    )
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"), float)
    assert len(charts["charts"]) == 12
    for x, y, width, height in charts["charts"]:
        part = pixels[round(y) : round(y + height), round(x) : round(x + width)]
        assert np.median(part) < 50
        assert (part > 200).mean() > 0.001
        assert (part > 230).mean() < 0.1


PICTURE = re.compile(r'"data:image/(png|jpeg);base64,[^"]{100,}"')
EMPTY = '"data:image/png;base64,iVBORw0KGgo="'


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
    text = PICTURE.sub(EMPTY, page.read_text()).replace("</main>", f"{added}</main>")
    found = probe(text, tmp_path)
    assert any(line.startswith(fault) for line in found["faults"]), found["faults"]


def test_the_probe_sees_what_cannot_be_read(page, tmp_path):
    text = PICTURE.sub(EMPTY, page.read_text())
    text = text.replace(
        "</main>",
        '<div style="width: 1500px">wide</div>'
        '<p style="color: #999; background: #eee">faint</p>'
        '<p class="name" style="width: 3em; overflow-wrap: anywhere">unbelievably</p></main>',
    )
    found = probe(text, tmp_path)
    assert {tuple(picture["natural"]) for picture in found["pictures"]} == {(0, 0)}
    assert found["page"] > found["window"] == 1280
    assert found["broken"] == ["unbelievably"]
    assert [element for element, _ in found["faint"] if element.startswith("<p")]
