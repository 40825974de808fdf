"""The page of an evaluation: one self-contained HTML file with figures, nothing to load and nothing to run."""

from importlib import resources
from string import Template

from cardioclarity.evaluation import figures
from cardioclarity.evaluation.results import HEADINGS, Evaluation
from cardioclarity.sheet import opening, text

_SHOWN = 5


def render(evaluation: Evaluation) -> str:
    """Write the page.

    Args:
        evaluation: All that it says; no text in it is trusted.

    Returns:
        A whole HTML document without script and without any address to load from.
    """
    facts = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in evaluation.facts().items()
    )
    return Template((resources.files("cardioclarity.evaluation") / "page.html").read_text("utf-8")).substitute(
        opening=opening(
            title=text(evaluation.protocol),
            skip_to=("figures", "the figures"),
            heading=f"Evaluation <span>{text(evaluation.protocol)}</span>",
            facts=f'<dl class="facts">{facts}</dl>',
            notice="Figures hold for patients and recorders like those of the database.",
        ),
        notes="".join(f'<p class="warning"><strong>Note</strong> {text(note)}</p>' for note in evaluation.notes),
        figures=_figures(evaluation),
        table=_table(evaluation),
        versions=text(", ".join(f"{name} {number}" for name, number in evaluation.versions.items())),
    )


def _figures(evaluation: Evaluation) -> str:
    """Draw what there is to draw: curves of the first scorer and the best others, calibration, patients."""
    drawn = evaluation.found.figures
    values = {one.scorer: one.value for one in reversed(evaluation.metrics) if one.subset == "all"}
    first, *others = [*drawn.curves] or [""]
    best = sorted(others, key=lambda name: -values.get(name, 0.0))[: _SHOWN - 1]
    shown = {name: drawn.curves[name] for name in (first, *best) if name in drawn.curves}
    parts = {
        "ROC": figures.roc(shown) if shown else "",
        "Precision and recall": figures.precision_recall(shown) if shown else "",
        "Realised against nominal false-positive rate": figures.calibration(drawn.realised) if drawn.realised else "",
        f"{drawn.measure} of each patient, the worst first": (
            figures.bars(drawn.measure, drawn.patients) if drawn.patients else ""
        ),
    }
    boxes = [f"<figure><h3>{text(name)}</h3>{part}</figure>" for name, part in parts.items() if part]
    if not boxes:
        return '<p class="empty">This protocol has no figure but the table.</p>'
    return f'<div class="figures">{"".join(boxes)}</div>'


def _table(evaluation: Evaluation) -> str:
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in HEADINGS)
    rows = "".join(
        f'<tr><th scope="row">{text(first)}</th>{"".join(f"<td>{text(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in evaluation.rows()
    )
    return (
        '<div class="scroll" role="region" aria-label="Figures" tabindex="0"><table class="metrics">'
        f"<caption>Every figure with its interval</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
