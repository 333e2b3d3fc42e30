"""Is every theorem awake?  Breaks the package in one place at a time and sees whether a test turns red.

    python tests/mutants.py            # all mutants
    python tests/mutants.py entropy    # those with this word in their name

Exits with 1 if a mutant survives.  Not collected by pytest.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
TESTS = [
    "tests/test_objectives.py",
    "tests/test_actions.py",
    "tests/test_schedules.py",
    "tests/test_exploration.py",
    "tests/test_temperature.py",
    "tests/test_targets.py",
    "tests/networks",
    "tests/critics",
    "tests/policies",
    "tests/algorithms",
    "tests/data",
]


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "entropy with the wrong sign in the soft value",
        "objectives.py",
        "return q - alpha * log_prob",
        "return q + alpha * log_prob",
    ),
    Mutant(
        "entropy with the wrong sign in the policy loss",
        "objectives.py",
        "return alpha.detach() * log_prob - q",
        "return -alpha.detach() * log_prob - q",
    ),
    Mutant(
        "policy loss moves alpha",
        "objectives.py",
        "return alpha.detach() * log_prob - q",
        "return alpha * log_prob - q",
    ),
    Mutant(
        "squared error moves its target", "objectives.py", "(prediction - target.detach())", "(prediction - target)"
    ),
    Mutant(
        "Bellman target not detached",
        "objectives.py",
        "masked_fill(terminated, 0.0)).detach()",
        "masked_fill(terminated, 0.0))",
    ),
    Mutant("bootstrap after termination", "objectives.py", "next_value.masked_fill(terminated, 0.0)", "next_value"),
    Mutant(
        "termination as a product, which lets NaN through",
        "objectives.py",
        "next_value.masked_fill(terminated, 0.0)",
        "next_value * ~terminated",
    ),
    Mutant(
        "temperature loss with the wrong sign",
        "objectives.py",
        "return -alpha * (log_prob + target_entropy).detach()",
        "return alpha * (log_prob + target_entropy).detach()",
    ),
    Mutant(
        "temperature loss moves the policy",
        "objectives.py",
        "(log_prob + target_entropy).detach()",
        "(log_prob + target_entropy)",
    ),
    Mutant(
        "soft return pays for its own entropy",
        "objectives.py",
        "    return returns\n",
        "    return returns + alpha * entropy\n",
    ),
    Mutant(
        "naive logarithm of the tanh determinant",
        "objectives.py",
        "return 2 * (math.log(2) - u - functional.softplus(-2 * u))",
        "return torch.log(1 - u.tanh().square())",
    ),
    Mutant(
        "no correction for tanh",
        "policies/squashed_gaussian.py",
        "normal_log_prob(noise, log_std) - tanh_log_det(u)",
        "normal_log_prob(noise, log_std)",
    ),
    Mutant(
        "log_prob averaged over the action", "policies/squashed_gaussian.py", "log_prob.sum(-1)", "log_prob.mean(-1)"
    ),
    Mutant(
        "sample not reparameterised",
        "policies/squashed_gaussian.py",
        "u = mean + log_std.exp() * noise",
        "u = (mean + log_std.exp() * noise).detach()",
    ),
    Mutant(
        "deterministic flag upside down",
        "policies/squashed_gaussian.py",
        "mean if deterministic else",
        "mean if not deterministic else",
    ),
    Mutant(
        "the larger critic as the value",
        "critics/twin.py",
        "        return prediction.amin(0)\n",
        "        return prediction.amax(0)\n",
    ),
    Mutant(
        "the larger critic in the backup",
        "critics/twin.py",
        "prediction.amin(0).unsqueeze(-1)",
        "prediction.amax(0).unsqueeze(-1)",
    ),
    Mutant(
        "both critics are the first",
        "critics/twin.py",
        ".float().squeeze(-1)",
        ".float().squeeze(-1)[:1].expand(2, -1)",
    ),
    Mutant(
        "members start with the same weights",
        "networks.py",
        "torch.empty(members, in_dim, out_dim).uniform_(-bound, bound)",
        "torch.empty(1, in_dim, out_dim).uniform_(-bound, bound).repeat(members, 1, 1)",
    ),
    Mutant(
        "Polyak follows at one minus its rate",
        "targets.py",
        "copy.lerp_(source, self.rate)",
        "copy.lerp_(source, 1 - self.rate)",
    ),
    Mutant(
        "slow copy leaves buffers behind",
        "targets.py",
        "chain(self.network.parameters(), self.network.buffers()),\n            chain(network.parameters(), network.buffers()),",
        "self.network.parameters(), network.parameters(),",
    ),
    Mutant("periodic copy at every update", "targets.py", "torch.where(due, source, copy)", "source"),
    Mutant("frozen does nothing", "targets.py", "parameter.requires_grad_(False)\n    try", "pass\n    try"),
    Mutant(
        "frozen thaws what it found frozen",
        "targets.py",
        "for parameter in module.parameters() if parameter.requires_grad]",
        "for parameter in module.parameters()]",
    ),
    Mutant("alpha taken for log alpha", "temperature.py", "return self.log_alpha.exp()", "return self.log_alpha + 1"),
    Mutant("target entropy -1 for every size", "actions.py", "return -float(self.dim)", "return -1.0"),
    Mutant(
        "V regresses on itself instead of its slow copy",
        "algorithms/sac.py",
        "next_value = self.target_value(",
        "next_value = self.value(",
    ),
    Mutant(
        "critics not frozen under the policy's loss",
        "algorithms/sac.py",
        "with frozen(self.critic):",
        "with torch.enable_grad():",
    ),
    Mutant(
        "backup by the online critic",
        "algorithms/target_critic_sac.py",
        "self.critic.target(self.target_critic(",
        "self.critic.target(self.critic(",
    ),
    Mutant(
        "backup without entropy",
        "algorithms/target_critic_sac.py",
        "next_value = soft_value(next_q, next_log_prob.unsqueeze(-1), alpha)",
        "next_value = next_q",
    ),
    Mutant(
        "backup with the old action",
        "algorithms/target_critic_sac.py",
        "next_action, next_log_prob = self.policy(batch.next_obs)",
        "next_action, next_log_prob = self.policy(batch.obs)",
    ),
    Mutant("slow copies never follow", "algorithms/sac.py", "self.target_value.follow(self.value)", "pass"),
    Mutant(
        "first observation of the next episode taken for the last",
        "data/env_runner.py",
        'next_obs[index] = info["final_obs"][index]',
        "pass",
    ),
    Mutant(
        "truncation taken for termination",
        "data/env_runner.py",
        "torch.from_numpy(np.asarray(terminated))",
        "torch.from_numpy(np.asarray(done))",
    ),
    Mutant(
        "one batch for all updates of a round",
        "data/replay.py",
        "self.buffer.sample(updates * self.batch_size)",
        "self.buffer.sample(self.batch_size).repeat(updates)",
    ),
    Mutant(
        "soft return without entropy", "algorithms/base.py", "episode_return + alpha * entropy.sum()", "episode_return"
    ),
    Mutant(
        "terminal state bootstraps in the bias of Q",
        "algorithms/base.py",
        "if episode.terminated else value[-1]",
        "if not episode.terminated else value[-1]",
    ),
    Mutant("factors: terms are not balanced", "actions.py", "factor - mean + means.mean(0)", "factor"),
    Mutant(
        "factors: a policy that is not a number plays on",
        "actions.py",
        ".masked_fill(scores.isnan().any(-1, keepdim=True), math.nan)",
        "",
    ),
    Mutant("gradients pile up", "algorithms/base.py", "optimizers[name].zero_grad()", "pass"),
    # ---- finite actions
    Mutant(
        "finite: entropy with the wrong sign in the expected soft value",
        "objectives.py",
        "return expectation + alpha * categorical_entropy",
        "return expectation - alpha * categorical_entropy",
    ),
    Mutant(
        "finite: policy loss with the wrong sign",
        "objectives.py",
        "return -expected_soft_value(q.detach()",
        "return expected_soft_value(q.detach()",
    ),
    Mutant("finite: policy loss moves Q", "objectives.py", "(q.detach().unsqueeze(-1)", "(q.unsqueeze(-1)"),
    Mutant(
        "finite: Boltzmann of q times alpha",
        "objectives.py",
        "behind / torch.where(alpha > 0, alpha, 1.0)",
        "behind * torch.where(alpha > 0, alpha, 1.0)",
    ),
    Mutant(
        "finite: Boltzmann without its limit at alpha zero",
        "objectives.py",
        "torch.where(alpha > 0, soft, hard).log_softmax(-1)",
        "soft.log_softmax(-1)",
    ),
    Mutant(
        "finite: Boltzmann at alpha zero takes the first of equals",
        "objectives.py",
        "masked_fill(behind < 0, -math.inf)",
        "masked_fill(torch.arange(q.shape[-1]) != q.argmax(-1, keepdim=True), -math.inf)",
    ),
    Mutant(
        "finite: entropy of an impossible action is not a number",
        "objectives.py",
        "log_probs.masked_fill(log_probs == -math.inf, 0.0)",
        "log_probs",
    ),
    Mutant(
        "finite: probabilities normalised over all factors together",
        "actions.py",
        "torch.cat([functional.log_softmax(factor, -1) for factor in scores.split(self.counts, -1)], -1)",
        "functional.log_softmax(scores, -1)",
    ),
    Mutant(
        "finite: Boltzmann normalised over all factors together",
        "actions.py",
        "torch.cat([boltzmann_log_probs(factor, alpha) for factor in q.split(self.counts, -1)], -1)",
        "boltzmann_log_probs(q, alpha)",
    ),
    Mutant("finite: Gumbel noise upside down", "actions.py", "exponential_().log())", "exponential_().log().neg())"),
    Mutant(
        "finite: one draw for all rows",
        "actions.py",
        "torch.empty_like(log_probs).exponential_()",
        "torch.empty_like(log_probs[(0,) * (log_probs.ndim - 1)]).exponential_()",
    ),
    Mutant("finite: target entropy is the highest one", "actions.py", "0.7 * self.max_entropy", "self.max_entropy"),
    Mutant("finite: exploration ignores epsilon", "exploration.py", "< self.epsilon()", "< 0.5"),
    Mutant(
        "finite: exploration draws epsilon once for all environments",
        "exploration.py",
        "torch.rand(len(q), 1,",
        "torch.rand(1, 1,",
    ),
    Mutant(
        "finite: greedy exploration of the policy instead of Q",
        "exploration.py",
        "self.actions.greedy(q))",
        "self.actions.greedy(log_probs))",
    ),
    Mutant(
        "finite: softmax exploration multiplies", "exploration.py", "q / self.temperature()", "q * self.temperature()"
    ),
    Mutant(
        "schedule: a line goes on beyond its end",
        "schedules.py",
        ".clamp(max=1.0)\n        return self.start * (1",
        "\n        return self.start * (1",
    ),
    Mutant(
        "schedule: an exponential goes on beyond its end",
        "schedules.py",
        ".clamp(max=1.0)\n        return self.start * (passed",
        "\n        return self.start * (passed",
    ),
    Mutant(
        "schedule: time is forgotten in a checkpoint",
        "schedules.py",
        "torch.zeros((), dtype=torch.int64))",
        "torch.zeros((), dtype=torch.int64), persistent=False)",
    ),
    Mutant(
        "finite: the mean of both critics as the value",
        "critics/twin_heads.py",
        "        return prediction.amin(0)\n",
        "        return prediction.mean(0)\n",
    ),
    Mutant(
        "finite: the larger critic in the backup",
        "critics/twin_heads.py",
        "prediction.amin(0).unsqueeze(-1)",
        "prediction.amax(0).unsqueeze(-1)",
    ),
    Mutant(
        "finite: a critic whose two methods disagree passes",
        "critics/base.py",
        'or not torch.allclose(torch.einsum("mba...,ba->mb...", every, action), one, rtol=1e-3, atol=1e-4)',
        "",
    ),
    Mutant(
        "finite: one-hots in the wrong order",
        "algorithms/finite.py",
        "torch.eye(actions.dim), persistent",
        "torch.eye(actions.dim).flip(0), persistent",
    ),
    Mutant(
        "finite: deterministic flag upside down",
        "algorithms/finite.py",
        "if deterministic else",
        "if not deterministic else",
    ),
    Mutant(
        "finite: soft Q-learning backs up its online critic",
        "algorithms/soft_q_learning.py",
        "self.every_action(self.target_critic.network, batch.next_obs)",
        "self.every_action(self.critic, batch.next_obs)",
    ),
    Mutant(
        "finite: soft Q-learning backs up the policy of this state",
        "algorithms/soft_q_learning.py",
        "next_log_probs = self.actions.boltzmann(self.every_value(next_prediction), alpha)",
        "next_log_probs = self.actions.boltzmann(self.every_value(prediction), alpha)",
    ),
    Mutant(
        "finite: soft Q-learning bootstraps after termination",
        "algorithms/soft_q_learning.py",
        "batch.terminated.unsqueeze(-1), next_value",
        "torch.zeros_like(batch.terminated).unsqueeze(-1), next_value",
    ),
    Mutant(
        "finite: temperature of soft Q-learning steers away",
        "algorithms/soft_q_learning.py",
        "self.temperature.loss(-entropy)",
        "self.temperature.loss(entropy)",
    ),
    Mutant(
        "finite: slow copy of soft Q-learning never follows",
        "algorithms/soft_q_learning.py",
        "self.target_critic.follow(self.critic)",
        "pass",
    ),
    Mutant(
        "finite: soft Q-learning explores without its exploration",
        "algorithms/soft_q_learning.py",
        "return self.exploration(q, self.actions.boltzmann(q, self.temperature()))",
        "return self.actions.sample(self.actions.boltzmann(q, self.temperature()))",
    ),
    Mutant(
        "finite: DiscreteSAC backs up its online critic",
        "algorithms/discrete_sac.py",
        "self.every_action(self.target_critic.network, batch.next_obs)",
        "self.every_action(self.critic, batch.next_obs)",
    ),
    Mutant(
        "finite: DiscreteSAC backs up the policy of this state",
        "algorithms/discrete_sac.py",
        "expected_soft_value(next_q, self.policy(batch.next_obs), alpha)",
        "expected_soft_value(next_q, self.policy(batch.obs), alpha)",
    ),
    Mutant(
        "finite: temperature of DiscreteSAC steers away",
        "algorithms/discrete_sac.py",
        "self.temperature.loss(-entropy)",
        "self.temperature.loss(entropy)",
    ),
    Mutant(
        "finite: DiscreteValueSAC backs up its online value",
        "algorithms/discrete_value_sac.py",
        "next_value = self.target_value(batch.next_obs)",
        "next_value = self.value(batch.next_obs)",
    ),
    Mutant(
        "finite: value regresses on Q without entropy",
        "algorithms/discrete_value_sac.py",
        "expected_soft_value(q.unsqueeze(-1), log_probs, alpha).squeeze(-1)\n            next_value",
        "expected_soft_value(q.unsqueeze(-1), log_probs, 0 * alpha).squeeze(-1)\n            next_value",
    ),
    Mutant(
        "finite: continuous actions are taken for finite ones",
        "algorithms/finite.py",
        "if not isinstance(actions, FiniteActions):",
        "if False:",
    ),
]


def tests_for(file: str) -> list[str]:
    """All tests, those that mirror the broken file first."""
    mirror = f"tests/{Path(file).parent}" if "/" in file else f"tests/test_{file}"
    return sorted(TESTS, key=lambda test: test != mirror)


def killer(mutant: Mutant | None) -> str | None:
    """The first test that turns red on a broken copy of the package; None if all stay green."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("lightning_maxent", "tests"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if mutant is not None:
            path = copy / "lightning_maxent" / mutant.file
            source = path.read_text()
            if source.count(mutant.old) != 1:
                raise SystemExit(
                    f"{mutant.name}: {mutant.old!r} occurs {source.count(mutant.old)} times in {mutant.file}."
                )
            path.write_text(source.replace(mutant.old, mutant.new))
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
            + (tests_for(mutant.file) if mutant is not None else TESTS),
            cwd=copy,
            env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    if run.returncode == 0:
        return None
    failed = re.search(r"^FAILED (\S+)", run.stdout, re.MULTILINE)
    if run.returncode != 1 or failed is None:  # no verdict: the run itself broke
        raise SystemExit(run.stdout + run.stderr)
    return failed[1]


def main(words: list[str]) -> int:
    if (broken := killer(None)) is not None:
        print(f"Without any mutant, {broken} is red: mend that first.")
        return 1
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    survivors = 0
    for mutant in chosen:
        test = killer(mutant)
        survivors += test is None
        print(f"{'SURVIVED' if test is None else 'killed  '}  {mutant.name}  [{test or mutant.file}]", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed.")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
