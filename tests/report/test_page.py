"""The page: its claims, its safety, its sameness, and that it is made from whatever there is."""

from __future__ import annotations

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from holdfast.errors import RunFolderError
from holdfast.records import Record
from holdfast.report import write

HOSTILE = (
    "<script>alert(1)</script> </style><img src=x onerror=alert(1)> </svg> {{7*7}} {% raw %} ]]> <!-- "
    "\x00\x1b[31m\x7f \ud800 \udfff \u202eright\u202c \u200b & \" ' ` 中文 $x^2$ $"
)


class Page(html.parser.HTMLParser):
    """Reads tables by the id of the block they stand in, and lists every tag and attribute."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.attributes, self.text = {}, [], [], []
        self._block = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self._block = dict(attributes).get("id", self._block) if tag in ("div", "ul") else self._block
        if tag == "tr":
            self.tables.setdefault(self._block, []).append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self._block][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def page_of(source, folder, **options):
    path = write(source, folder, **options)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    """The page of the study."""
    return write(study, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text(encoding="utf-8"))


def test_the_numbers_of_the_result_table_are_those_of_the_records(make_run, tmp_path):
    names = ("full, 1e-3", "attention, 1e-3")
    folders = [make_run(tmp_path / name, name=name, size=80, during=40) for name in names]
    page = page_of(folders, tmp_path / "out")
    head, *rows = page.tables["results"]
    assert head == ["suite", "arm", "success", "n", "distinct", "change", "p", "verdict"]
    told = {(row[0], row[1]): row for row in rows}
    assert len(told) == 3 * 3
    for name, folder in zip(names, folders, strict=True):
        records = [Record.from_json(json.loads(line)) for line in lines_of(folder / "records.jsonl")]
        for suite in ("id", "ood", "ood_new"):
            key = f"eval_{suite}_success"
            for who, record in (("base", records[0]), (name, records[-1])):
                value, low, high = (float(x) for x in re.findall(r"[\d.]+", told[suite, who][2]))
                estimate = record.estimates[key]
                assert value == pytest.approx(100 * record.readings[key], abs=0.051)
                assert (low, high) == pytest.approx((100 * estimate.low, 100 * estimate.high), abs=0.051)
                assert told[suite, who][3:5] == [str(estimate.n), str(estimate.clusters)]
            change = float(told[suite, name][5].split()[0].replace("−", "-"))
            moved = 100 * (records[-1].readings[key] - records[0].readings[key])
            assert change == pytest.approx(moved, abs=0.051)


def test_the_headline_tells_the_same_success_as_the_table(page):
    shown = {(row[0], row[1]): row[2].split(" %")[0] for row in page.tables["results"][1:]}
    text = "".join(page.text)
    for (suite, arm), value in shown.items():
        if arm != "base":
            assert f"{shown[suite, 'base']} → {value} %" in text


def test_a_record_that_contradicts_its_samples_is_warned_of(make_run, tmp_path):
    folder = make_run(tmp_path / "run", size=40, during=20)
    rows = [json.loads(line) for line in lines_of(folder / "records.jsonl")]
    rows[-1]["readings"]["eval_ood_success"] = 0.99
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "records.jsonl says 99.0 % success on ood at step 160" in "".join(page_of(folder, tmp_path).text)


def hostile_run(make_run, folder):
    """Put the hostile text wherever a page takes text from."""
    make_run(folder, size=40, during=20, reply=HOSTILE)
    for path in (folder / "samples").glob("*/*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row |= {"prompt": HOSTILE, "expected": HOSTILE, "code": HOSTILE, "facts": {HOSTILE: True}}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = json.loads((folder / "plan.json").read_text())
    plan["warnings"] = [HOSTILE]
    plan["trainable"]["label"] = HOSTILE
    plan["trainable"]["rows"][0]["role"] = HOSTILE
    plan["suites"]["ood"] |= {"rule": HOSTILE, "exposure": HOSTILE}
    (folder / "plan.json").write_text(json.dumps(plan))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"status": HOSTILE, HOSTILE: HOSTILE}))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"run_name": HOSTILE, "model_name_or_path": HOSTILE, "data": {"path": HOSTILE}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    return folder


def test_hostile_text_stays_text_wherever_it_stands(make_run, tmp_path):
    folder = hostile_run(make_run, tmp_path / "run")
    path = write(folder, tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<!-- " not in text.replace("<!DOCTYPE", "")
    assert text.count("</style>") == 1
    assert "{{7*7}}" in "".join(page.text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u200b]", text)
    assert "\\ud800" in text
    assert "\\u202eright" in text


def test_the_page_loads_nothing_runs_nothing_and_says_so(written, page):
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    policy = next(value for name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    addresses = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action")]
    assert all(address.startswith("#") for address in addresses)
    assert not re.search(r"url\((?!#)|@import", written.read_text(encoding="utf-8"))


def test_ids_of_the_figures_do_not_clash(page):
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name in ("href", "xlink:href")}
    assert used <= set(ids)


def test_the_same_runs_give_the_same_bytes(study, written, tmp_path):
    code = f"from holdfast.report import write; write({str(study)!r}, {str(tmp_path / 'report.html')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (tmp_path / "report.html").read_bytes() == written.read_bytes()
    names = {path.name for path in (tmp_path / "report-figures").iterdir()}
    assert names == {f"{name}.png" for name in ("success-steps", "success-flops", "frontier", "learning", "trained")}
    for name in names:
        pair = [(folder / "report-figures" / name).read_bytes() for folder in (tmp_path, written.parent)]
        assert pair[0] == pair[1]


def test_only_a_given_date_stands_on_the_page(make_run, tmp_path):
    page = page_of(make_run(tmp_path / "run", size=20, during=20), tmp_path, date="1 April 2031", title="Cards")
    assert "1 April 2031" in "".join(page.text)
    assert not re.search(r"20(2[4-9]|3\d)-\d\d", (tmp_path / "report.html").read_text())


def test_the_page_says_what_it_does_not_show(page, make_run, tmp_path):
    several = "".join(page.text)
    assert "The numbers of this study are made up for a test." in several
    assert "given these very seeds" in several
    assert "not split into a select and a report half" in several
    single = "".join(page_of(make_run(tmp_path / "run", size=40, during=20), tmp_path / "b").text)
    assert "Every arm ran with one seed" in single


def test_a_rule_that_the_base_knows_and_one_it_never_saw_are_labelled(page):
    text = "".join(page.text)
    assert "faces_as_11_12_13, known to the base" in text
    assert "faces_as_5_7_9, never seen" in text
    assert "rule never seen" in text


def test_flipped_answers_show_prompt_and_both_replies(page):
    text = "".join(page.text)
    assert re.search(r"ood: \d+ of 1600 answers went from right to wrong", text)
    assert "rule faces_as_11_12_13 ; cards" in text
    assert "(10+7)+(3+10)=30" in text


def one_moment(folder, _):
    for name in ("plan.json", "metrics.jsonl"):
        (folder / name).unlink()
    row = json.loads((folder / "records.jsonl").read_text().splitlines()[-1])
    (folder / "records.jsonl").write_text(json.dumps(row | {"spent": {}}) + "\n")


def no_records(folder, _):
    (folder / "records.jsonl").write_text("")


def no_samples(folder, _):
    shutil.rmtree(folder / "samples")


def no_plan(folder, _):
    (folder / "plan.json").unlink()


def long_names_in_many_arms(folder, make_run):
    for number in range(9):
        other = make_run(folder.parent / f"other{number}", size=20, during=10)
        recipe = yaml.safe_load((other / "recipe.yaml").read_text())
        recipe |= {"run_name": f"attention and everything else, rate $ {number} 中", "learning_rate": number / 10}
        (other / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def no_suites(folder, _):
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text()) | {"suites": {}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    plan = json.loads((folder / "plan.json").read_text()) | {"suites": {}}
    (folder / "plan.json").write_text(json.dumps(plan))


def unknown_readings(folder, _):
    rows = [json.loads(line) for line in lines_of(folder / "records.jsonl")]
    for row in rows[2:5]:
        row["readings"]["eval_ood_success"] = None
    for row in rows[5:7]:
        del row["readings"]["eval_ood_success"]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    "change",
    [one_moment, no_records, no_samples, no_plan, long_names_in_many_arms, no_suites, unknown_readings],
    ids=lambda change: change.__name__,
)
def test_a_page_is_made_from_runs_with(change, make_run, tmp_path):
    folder = make_run(tmp_path / "runs" / "one", size=30, during=20)
    change(folder, make_run)
    text = write(tmp_path / "runs", tmp_path / "out").read_text(encoding="utf-8")
    assert "What this does not show" in text
    assert "nan" not in re.sub(r"<[^>]*>", " ", text).lower().split()


def test_one_suite_and_a_single_run_are_told_in_a_sentence(make_run, tmp_path):
    suites = {"ood": ("ood", "faces_as_11_12_13", "unknown")}
    page = page_of(make_run(tmp_path / "run", size=40, during=20, suites=suites), tmp_path / "out")
    assert re.search(r"full, 1e-3: ood [\d.]+ → [\d.]+ % \[", "".join(page.text))


def test_no_run_and_an_unwritable_place_are_refused_in_one_line(make_run, tmp_path):
    with pytest.raises(RunFolderError, match="no run to report"):
        write([], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write the report"):
        write(make_run(tmp_path / "run", size=10, during=10), tmp_path / "file" / "below")


def test_importing_the_report_does_not_import_matplotlib_or_torch():
    late = ["matplotlib", "torch", "scipy", "jinja2"]
    code = f"import sys, holdfast.report; print([m for m in {late} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
