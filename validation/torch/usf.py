"""Searched solver schedules: against the published solvers on new noise, the predictor's ranks, and other searches.

``python -m validation.torch.usf [--quick]``

Every search runs on 1024 points (quick 256) of its own seed; what it finds is compared on 4000 other points (quick
300) with the published solvers of its first population, each of which is run there too: the best of them there is
the one to beat.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from math import log, nan

import numpy as np
import torch

from mcstat.core.errors import ReliabilityWarning
from mcstat.study import Claim, ClaimTable
from mcstat.torch.diffusion import S3Search, SolverSchedule, StepConfig, USFSolver, make_grid
from mcstat.torch.diffusion._s3_predictors import PREDICTORS
from mcstat.torch.diffusion._s3_space import Space, features
from validation.torch.problem import SCHEDULE, SETTING, eight_modes, noise, ratio, reference, rmse, squares

TO_BEAT = {5: 0.114, 6: 0.0998, 8: 0.0808, 10: 0.0510}
N_EVALUATIONS = 200
SOURCE = "card of USF and S3, claims"
BELOW_ONE = (0.0, float(np.nextafter(1.0, 0.0)))
SEARCHES = {
    "S3, Gaussian process": {},
    "S3, ranking network": {"predictor": "mlp"},
    "S3, no predictor": {"predictor": "none"},
    "regularised evolution": {"strategy": "evolution"},
    "random search": {"strategy": "random"},
}


@cache
def validation_points(quick: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise that no search has seen, and where the ODE takes it."""
    x = noise(300 if quick else 4000, seed=1_000_003)
    return x, reference(eight_modes(), x, 200 if quick else 4000)


@cache
def search_points(seed: int, quick: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """A search's own noise and reference; half of it is for the search's own estimate."""
    x = noise(512 if quick else 2048, seed=seed)
    return x, reference(eight_modes(), x, 200 if quick else 1000)


def search(nfe: int, seed: int, quick: bool, n_jobs: int = 1, **settings: str) -> S3Search:
    """A fitted search of equal evaluations."""
    sizes = {"n_evaluations": 24, "population_size": 16, "n_stages": 2} if quick else {"n_evaluations": N_EVALUATIONS}
    made = S3Search(nfe, random_state=seed, n_jobs=n_jobs, verbose=False, **sizes, **settings)
    with warnings.catch_warnings():
        # Few points are what --quick is about.
        warnings.simplefilter("ignore", ReliabilityWarning)
        return made.fit(eight_modes(), *search_points(seed, quick))


def space(nfe: int) -> Space:
    """The schedules that a search draws from."""
    lam = make_grid(SCHEDULE, 1).lam
    return Space(SCHEDULE, nfe, float(lam[0]), float(lam[1]))


def held_out(schedule: SolverSchedule, quick: bool) -> np.ndarray:
    """Square errors of a schedule on the validation's points (n,)."""
    x, target = validation_points(quick)
    return squares(USFSolver(schedule), eight_modes(), x, schedule.grid, target)


@cache
def best_preset(nfe: int, quick: bool) -> tuple[str, np.ndarray]:
    """The published solver that is best on the validation's points themselves: a hard one to beat."""
    errors = {name: held_out(schedule, quick) for name, schedule in space(nfe).presets().items()}
    name = min(errors, key=lambda one: errors[one].mean())
    return name, errors[name]


def against_presets(found: dict[int, S3Search], quick: bool) -> ClaimTable:
    """The searched schedule's error on new noise: against the card's figures, and paired with the best preset's."""
    rows = []
    setting = (
        f"{SETTING}, {len(validation_points(quick)[0])} new points, {next(iter(found.values())).n_evaluations_} runs"
    )
    better = 0
    for nfe, one in found.items():
        errors = held_out(one.best_schedule_, quick)
        value, error = rmse(errors)
        rows.append(
            Claim(
                name=f"RMSE of the searched schedule at {nfe}", setting=setting, source=f"{SOURCE}, row 1",
                published=f"below {TO_BEAT[nfe]:g}", measured=value, mcse=error,
                band=(0.0, float(np.nextafter(TO_BEAT[nfe], 0.0))), note=f"on its own noise {one.best_value_:.4f}",
            )
        )  # fmt: skip
        name, preset = best_preset(nfe, quick)
        value, error = ratio(errors, preset)
        better += value < 1.0
        rows.append(
            Claim(
                name=f"searched over the best preset at {nfe}", setting=setting, source=f"{SOURCE}, row 1",
                published="below 1", measured=value, mcse=error, band=BELOW_ONE,
                unit="ratio of RMSE", note=f"{name}: {rmse(preset)[0]:.4f}",
            )
        )  # fmt: skip
    counts = Claim(
        name=f"counts of {len(found)} at which the searched schedule is better", setting=setting,
        source=f"{SOURCE}, row 1", published="3 of 4 or more", measured=better, mcse=nan, band=(3.0, 4.0),
        scale_ok=len(found) == len(TO_BEAT), note="" if len(found) == len(TO_BEAT) else "fewer counts",
    )  # fmt: skip
    return ClaimTable([*rows, counts])


def ranks(found: dict[int, S3Search], quick: bool) -> ClaimTable:
    """Kendall's tau of predictors trained on a search's schedules, on others that were drawn apart.

    Half of these are random, half are children of the search's best ten: the schedules that it must tell apart.
    """
    from scipy.stats import kendalltau, norm, rankdata

    nfe = 8
    rng, where, one = np.random.default_rng(2), space(nfe), found[nfe]
    count = 15 if quick else 100
    best = sorted(one.history_, key=lambda trial: trial.value)[:10]
    fresh = {
        "random schedules": [where.random(rng) for _ in range(count)],
        "children of the best": [where.mutated(rng, best[i].schedule) for i in rng.integers(10, size=count)],
    }
    x = np.array([features(trial.schedule, nfe) for trial in one.history_])
    y = norm.ppf((rankdata([trial.value for trial in one.history_]) - 0.5) / len(x))
    rows = []
    for predictor, train in PREDICTORS.items():
        predict = train(x, y, np.random.default_rng(3))
        for kind, schedules in (fresh | {"both": fresh["random schedules"] + fresh["children of the best"]}).items():
            said = predict(np.array([features(schedule, nfe) for schedule in schedules]))
            true = np.array([held_out(schedule, quick).mean() for schedule in schedules])
            tau = float(kendalltau(said, true).statistic)
            picks = rng.integers(len(said), size=(100, len(said)))
            error = float(np.std([kendalltau(said[pick], true[pick]).statistic for pick in picks], ddof=1))
            rows.append(
                Claim(
                    name=f"tau of {predictor} on {kind}",
                    setting=f"{SETTING}, {len(said)} schedules of {nfe} questions", source=f"{SOURCE}, row 2",
                    published="high", measured=tau, mcse=error, unit="Kendall's tau",
                    band=(float(np.nextafter(0.4, 1.0)), 1.0) if kind == "both" else None,
                )
            )  # fmt: skip
    return ClaimTable(rows)


def steps_differ(found: dict[int, S3Search], quick: bool) -> ClaimTable:
    """Whether one order is best for all steps: of each step alone, and of the whole schedule, other orders are tried.

    Only where they ask as many questions; the first step has no choice, as there is no history.
    """
    rows = []
    for nfe, one in found.items():
        schedule = one.best_schedule_
        choices = [_other_orders(schedule, [i], quick) for i in range(1, len(schedule.steps))]
        best = [min(errors, key=lambda order: errors[order].mean()) for errors in choices if len(errors) > 1]
        counts = sorted(Counter(best).items())
        used = Counter(_name(*pair) for pair in zip(schedule.steps, schedule.orders, strict=True))
        rows.append(
            Claim(
                name=f"orders that are best for some step at {nfe}", setting=SETTING, source=f"{SOURCE}, row 3",
                published="more than one", measured=len(counts), mcse=nan,
                note=", ".join(f"order {order} for {count}" for order, count in counts)
                + "; found: " + ", ".join(f"{count} x {name}" for name, count in used.most_common()),
            )
        )  # fmt: skip
        alike = _other_orders(schedule, range(len(schedule.steps)), quick)
        if alike:
            order = min(alike, key=lambda order: alike[order].mean())
            value, error = ratio(held_out(schedule, quick), alike[order])
            rows.append(
                Claim(
                    name=f"searched over the same with one order for all steps at {nfe}", setting=SETTING,
                    source=f"{SOURCE}, row 3", published="below 1", measured=value, mcse=error, band=BELOW_ONE,
                    unit="ratio of RMSE", note=f"the best is order {order}",
                )
            )  # fmt: skip
    return ClaimTable(rows)


def _other_orders(schedule: SolverSchedule, chosen: Iterable[int], quick: bool) -> dict[int, np.ndarray]:
    """Square errors, by order, of schedules in which the chosen steps have that order."""
    errors = {}
    for order in (1, 2, 3):
        steps = list(schedule.steps)
        for i in chosen:
            steps[i] = replace(steps[i], order=order)
        changed = SolverSchedule(steps, schedule.grid)
        if changed.nfe == schedule.nfe:
            errors[max(changed.orders[i] for i in chosen)] = held_out(changed, quick)
    return errors


def _name(step: StepConfig, order: int) -> str:
    return f"{step.prediction} {order}{' corrected' if step.correct else ''}"


def against_searches(quick: bool, n_jobs: int) -> ClaimTable:
    """Other searches with as many evaluations, over seeds: mean log RMSE on new noise against S3's, by pairs."""
    nfe, seeds = 8, range(2 if quick else 8)
    logs = {
        name: np.array(
            [_log_error(search(nfe, seed, quick, n_jobs, **settings).best_schedule_, quick) for seed in seeds]
        )
        for name, settings in SEARCHES.items()
    }
    if find_spec("optuna"):
        logs["optuna, TPE"] = np.array([_log_error(_optuna(nfe, seed, quick), quick) for seed in seeds])
    ours = logs["S3, Gaussian process"]
    rows = []
    for name, values in list(logs.items())[1:]:
        difference = ours - values
        value = float(np.exp(difference.mean()))
        rows.append(
            Claim(
                name=f"S3 over {name} at {nfe}", setting=f"{SETTING}, {len(seeds)} seeds, equal evaluations",
                source="card of USF and S3, baselines", published=None, measured=value,
                mcse=value * float(difference.std(ddof=1)) / len(seeds) ** 0.5,
                band=BELOW_ONE if name == "random search" else None, unit="ratio of geometric mean RMSE",
                note=f"geometric means {np.exp(ours.mean()):.4f} and {np.exp(values.mean()):.4f}",
            )
        )  # fmt: skip
    return ClaimTable(rows)


def _log_error(schedule: SolverSchedule, quick: bool) -> float:
    return 0.5 * log(held_out(schedule, quick).mean())


def _optuna(nfe: int, seed: int, quick: bool) -> SolverSchedule:
    """Optuna's default search over the settings and lengths of nfe multistep steps."""
    import optuna

    from mcstat.torch.diffusion import Grid
    from mcstat.torch.diffusion._usf_schedule import OPTIONS

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (x, target), ends, denoiser = search_points(seed, quick), space(nfe), eight_modes()
    found: dict[float, SolverSchedule] = {}

    def objective(trial: optuna.Trial) -> float:
        names = [name for name in OPTIONS if name != "derivative"]
        steps = [
            StepConfig(
                **{
                    name: trial.suggest_categorical(f"{name} {i}", OPTIONS[name])
                    for name in names
                    if not (name == "correct" and i == nfe - 1)
                }
            )
            for i in range(nfe)
        ]
        lengths = np.exp([trial.suggest_float(f"length {i}", -1.5, 1.5) for i in range(nfe)])
        shares = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
        schedule = SolverSchedule(steps, Grid.from_lam(SCHEDULE, ends.start + (ends.end - ends.start) * shares))
        half = len(x) // 2
        value = float(squares(USFSolver(schedule), denoiser, x[:half], schedule.grid, target[:half]).mean())
        found[value] = schedule
        return value

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=40 if quick else N_EVALUATIONS)
    return found[min(found)]


def claims(quick: bool, n_jobs: int = 1) -> ClaimTable:
    """Every claim."""
    found = {nfe: search(nfe, 0, quick, n_jobs) for nfe in ((8,) if quick else TO_BEAT)}
    rows = against_presets(found, quick) + ranks(found, quick) + steps_differ(found, quick)
    rows += against_searches(quick, n_jobs)
    return rows.first_look() if quick else rows


def main() -> None:
    """Print the claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=1)
    arguments = parser.parse_args()
    print(claims(arguments.quick, arguments.n_jobs))


if __name__ == "__main__":
    main()
