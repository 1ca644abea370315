"""What the page says beside its tables."""

HEAD = """# Experiments

Made by `python scripts/experiments.py`; greedy, float32. Paired on the same samples; intervals are bootstraps over
pages; p is Holm-adjusted within a table. Random controls are means of five draws. Budgets are in the reading `equal`
([budgets](budgets.md)) unless a section says otherwise. Samples per task, a fixed draw:

{models}
"""

NOTES = {
    1: ("Each design against the random control of its stage, at the same budget."),
    2: (
        'Difference: the method\'s accuracy less that of `resize` at the same budget. "needing": on the '
        "samples that need the image."
    ),
    3: (
        "One random mask of 40 % of the tokens. `kept`: positions of the full prompt; `renumbered`: as text; "
        "`compacted`: empty rows and columns closed (a repair that needs no training); `pospad`: a marker per "
        "dropped run, on top of the budget; `padded`: one per dropped token. Differences are to `kept`. nano "
        "has no trained marker: the pad token stands in; micro's has been in its training."
    ),
    4: (
        "Thirds of the page from the top, by the centre of the target; and the share of the blocks of each "
        "third that enters the decoder."
    ),
    5: ("What is right without looking. Text alone reaches the decoder; positions stay."),
    6: (
        "Tokens per correct answer: what the decoder took, the prompt at its first layer and what it "
        "generated, over the sum of the scores. New tokens and agreement are those of a random control's first draw."
    ),
    7: (
        "A page with two questions: what was kept for the first one answers the second, against what is kept "
        'for the second itself (`vtprune_eval/pipeline/second.py`). "Reads the question" '
        "is the method's own flag. Difference: for the first less for itself."
    ),
    8: (
        "Probability of the whole answer (`--logprobs`) against its score: expected calibration error over "
        "ten bins, and Brier score. Random controls: their first draw."
    ),
    9: (
        "`cut`: the same tokens without the features that DeepStack adds to them in the first decoder layers. "
        "Difference: kept less cut."
    ),
    10: (
        "Lost: right in full and wrong here. The target counts as dropped where less than half of its blocks "
        "are left at the last stage (of the cache: mean over layers and heads). Random controls: their first draw."
    ),
}
