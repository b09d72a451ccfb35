"""The profile learns which signals later choices follow."""

from pathlib import Path

import numpy as np
import pytest

from feature_repo.declarations import SIGNALS
from feature_repo.online import Interests
from training.errors import TrainingError
from training.profile import PRIOR, Choices, ProfileModel, _loss, choices_of
from training.registry import ModelFolder, ModelMeta

KEYS = ("category:Cameras", "category:Films", "category:Games", "category:Laptops")
SHARE = dict(zip(KEYS, (0.1, 0.3, 0.4, 0.2), strict=True))


def interests(**signals: dict[str, float]) -> Interests:
    """`interests(Cameras={"view": 2})`."""
    keys = tuple(f"category:{name}" for name in signals)
    rows = np.array([[values.get(signal, 0.0) for signal in SIGNALS] for values in signals.values()], np.float32).reshape(len(keys), len(SIGNALS))
    return Interests(keys, rows, np.zeros(len(keys)))


def simulated(seed: int = 0, count: int = 3000) -> Choices:
    """Users who saw and bought; choices follow purchases (weight 1.5), views hardly (0.02), and shun dislikes."""
    generator = np.random.default_rng(seed)
    before, chosen = [], []
    for _ in range(count):
        seen, bought, shunned = generator.choice(4, 3)
        user = {name.split(":")[1]: {} for name in KEYS}
        names = list(user)
        user[names[seen]]["view"] = 3.0
        user[names[bought]]["purchase"] = 1.0
        user[names[shunned]]["dislike"] = 1.0
        weight = np.array(list(SHARE.values()))
        weight[seen] += 0.06
        weight[bought] += 1.5
        weight[shunned] = max(weight[shunned] - 0.5, 0.01)
        before.append(interests(**user))
        chosen.append(KEYS[generator.choice(4, p=weight / weight.sum())])
    return choices_of(before, chosen, SHARE, list(range(count)), "category", 8)


def test_weights_are_recovered_and_signs_hold() -> None:
    found = ProfileModel.fit(simulated())
    assert found.signal_weights["purchase"] == pytest.approx(1.5, abs=0.4)
    assert 0 <= found.signal_weights["view"] < 0.1
    assert found.signal_weights["dislike"] < -0.1
    assert set(found.learned) == {"view", "purchase", "dislike"}


def test_signals_the_shop_does_not_have_keep_their_prior() -> None:
    found = ProfileModel.fit(simulated())
    assert found.signal_weights["group"] == pytest.approx(PRIOR["group"])
    assert "group" not in found.learned


def test_too_few_choices_leave_the_prior() -> None:
    assert ProfileModel.fit(simulated(count=20)) == ProfileModel()


def test_same_choices_same_weights() -> None:
    assert ProfileModel.fit(simulated()).signal_weights == ProfileModel.fit(simulated()).signal_weights


def test_ablation_ranks_the_sources_that_matter() -> None:
    ablation = ProfileModel.fit(simulated()).ablation
    assert ablation["B+N"]["log_loss"] < ablation["B"]["log_loss"] < ablation["none"]["log_loss"]
    assert ablation["B"]["ndcg_5"] > ablation["none"]["ndcg_5"]
    assert ablation["S"]["log_loss"] == pytest.approx(ablation["none"]["log_loss"])


def test_gradient_is_the_loss_s_slope() -> None:
    choices = simulated(count=200)
    at = np.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.2, -0.6])
    _, gradient = _loss(at, choices)
    step = 1e-6
    for signal in range(len(SIGNALS)):
        ahead, behind = at.copy(), at.copy()
        ahead[signal] += step
        behind[signal] -= step
        slope = (_loss(ahead, choices)[0] - _loss(behind, choices)[0]) / (2 * step)
        assert gradient[signal] == pytest.approx(slope, abs=1e-3)


def test_a_profile_explains_itself_and_taking_a_source_away_changes_it() -> None:
    model = ProfileModel({**PRIOR, "purchase": 1.0, "like": 2.0, "dislike": -2.0, "group": 0.5})
    everything = interests(Cameras={"purchase": 1.0, "group": 1.0}, Films={"like": 1.0}, Games={"dislike": 1.0})
    profile = model.explain("u_1", everything, language="zh")
    weights = {interest.subject: interest.weight for interest in profile.interests}
    assert weights == pytest.approx({"Films": 2.0, "Games": -2.0, "Cameras": 1.5})
    cameras = next(interest for interest in profile.interests if interest.subject == "Cameras")
    assert (cameras.behaviour, cameras.social, cameras.preference) == pytest.approx((1.0, 0.5, 0.0))
    assert {(evidence.signal, evidence.value) for evidence in cameras.evidence} == {("purchase", 1.0), ("group", 1.0)}
    without_social = model.explain("u_1", interests(Cameras={"purchase": 1.0}, Films={"like": 1.0}, Games={"dislike": 1.0}))
    without_stated = model.explain("u_1", interests(Cameras={"purchase": 1.0, "group": 1.0}))
    without_behaviour = model.explain("u_1", interests(Cameras={"group": 1.0}, Films={"like": 1.0}, Games={"dislike": 1.0}))
    assert len({profile.interests, without_social.interests, without_stated.interests, without_behaviour.interests}) == 4


def test_nobody_has_an_empty_profile() -> None:
    assert ProfileModel().explain(None, interests()).interests == ()


def test_it_is_kept_in_the_retriever_s_folder(tmp_path: Path) -> None:
    model = ProfileModel.fit(simulated(count=300))
    model.save(tmp_path)
    ModelFolder.write(tmp_path, ModelMeta("retriever", "set"))
    assert ProfileModel.load(tmp_path) == model
    (tmp_path / "profile.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"profile\.json"):
        ProfileModel.load(tmp_path)
