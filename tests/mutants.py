"""Mutation tests: breaks the package in one place at a time, and checks that a test fails.

    python tests/mutants.py                 # all mutants
    python tests/mutants.py entropy         # those with this word in their name
    python tests/mutants.py --part 3 --of 6 # every sixth, from the fourth on; .ci/run chooses by the commit

Exits with 1 if a mutant survives the tests of its file, see ``tests_of``.  Not collected by pytest.
"""

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SECONDS = 600
"""After so many the tests of a mutant are ended: it made one of them hang, where no test's own timeout ends it."""
BEFORE = (
    "gymnasium",
    "matplotlib.figure",
    "pytest",
    "pytorch_lightning",
    "scipy.optimize",
    "scipy.stats",
    "torchrl.data",
    "wandb",
)
"""What is imported once: each mutant gets a copy of this process."""


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
        "policies/base.py",
        "log_prob - tanh_log_det(u).sum(-1)",
        "log_prob",
    ),
    Mutant(
        "log_prob averaged over the action", "policies/squashed_gaussian.py", "log_std).sum(-1)", "log_std).mean(-1)"
    ),
    Mutant(
        "sample not reparameterized",
        "policies/squashed_gaussian.py",
        "return mean + log_std.exp() * noise",
        "return (mean + log_std.exp() * noise).detach()",
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
        "both critics are the first",
        "critics/twin.py",
        "obs, action).squeeze(-1)",
        "obs, action).squeeze(-1)[:1].expand(2, -1)",
    ),
    Mutant(
        "members start with the same weights",
        "networks/layers.py",
        "torch.empty(members, in_dim, out_dim).uniform_(-bound, bound)",
        "torch.empty(in_dim, out_dim).uniform_(-bound, bound).repeat(members, 1, 1)",
    ),
    Mutant(
        "Polyak follows at one minus its rate",
        "targets.py",
        "            copy.lerp_(source, rate)\n        else",
        "            copy.lerp_(source, 1 - rate)\n        else",
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
        "algorithms/value_sac.py",
        "certain(self.target_value(",
        "certain(self.value(",
    ),
    Mutant(
        "critics not frozen under the policy's loss",
        "algorithms/value_sac.py",
        "with frozen(self.critic):",
        "with torch.enable_grad():",
    ),
    Mutant(
        "backup by the online critic",
        "targets.py",
        "next_prediction = ask(self.network, *following)",
        "next_prediction = ask(network, *following)",
    ),
    Mutant(
        "backup without entropy",
        "algorithms/sac.py",
        "soft_value(next_q.atoms, next_log_prob.unsqueeze(-1), alpha)",
        "next_q.atoms",
    ),
    Mutant(
        "backup with the old action",
        "algorithms/sac.py",
        "next_action, next_log_prob = self.policy(batch.next_obs)",
        "next_action, next_log_prob = self.policy(batch.obs)",
    ),
    Mutant(
        "V regresses on what the policy climbs",
        "algorithms/value_sac.py",
        "target_q = self.critic.target(fresh).mean()",
        "target_q = q",
    ),
    Mutant(
        "the policy climbs what V regresses on",
        "algorithms/value_sac.py",
        "q = self.critic.value(fresh)",
        "q = self.critic.target(fresh).mean()",
    ),
    Mutant(
        "finite: V regresses on what the policy climbs",
        "algorithms/discrete_value_sac.py",
        "soft_value = self.state_value_distribution(prediction, log_probs, alpha).mean()",
        "soft_value = -expected_policy_loss(q, log_probs, alpha)",
    ),
    Mutant(
        "a joint pass follows V",
        "targets.py",
        "if isinstance(target, AbstractJointTarget):",
        "if False:",
    ),
    Mutant(
        "REPPO: backs up what the policy climbs",
        "algorithms/reppo.py",
        "q = self.critic.target(self.critic(next_obs, action)).mean()",
        "q = self.q_value(next_obs, action)",
    ),
    Mutant(
        "verify: a joint target is tried as the copy of V",
        "verification/training.py",
        "return not isinstance(target(nn.Linear(1, 1)), AbstractJointTarget)",
        "return True",
    ),
    Mutant(
        "verify: every action counts by the interval where it counts most",
        "verification/contract.py",
        "min(shares, key=",
        "max(shares, key=",
    ),
    Mutant(
        "verify: a last layer of zero is not woken",
        "verification/contract.py",
        "    _wake(built, (obs, action))\n",
        "",
    ),
    Mutant("slow copies never follow", "algorithms/value_sac.py", "self.target_value.follow(self.value)", "pass"),
    Mutant(
        "weights that are not finite are saved",
        "checkpoint_files.py",
        'if parts := diverged(checkpoint["state_dict"]):',
        "if parts := []:",
    ),
    Mutant(
        "first observation of the next episode taken for the last",
        "data/env_runner.py",
        'next_obs[index] = info["final_obs"][index]',
        "pass",
    ),
    Mutant(
        "infos reach the vector environment",
        "data/checked_env.py",
        'return self._flat("step", obs), reward, terminated, truncated, {}',
        'return self._flat("step", obs), reward, terminated, truncated, answer[4]',
    ),
    Mutant(
        "a reward of shape (1,) is let through",
        "data/checked_env.py",
        "if np.ndim(reward) or isinstance",
        "if isinstance",
    ),
    Mutant(
        "an observation of a wrong shape is let through",
        "data/checked_env.py",
        "if obs is None or np.shape(obs) != space.shape:",
        "if obs is None:",
    ),
    Mutant(
        "Gymnasium's line is blamed",
        "errors.py",
        "return int(path.relative_to(folder).parts[0] not in _PASSED_THROUGH)",
        "return 2",
    ),
    Mutant(
        "the standard library's line is blamed",
        "errors.py",
        "return 0 if any(path.is_relative_to(folder) for folder in _STANDARD) else 2",
        "return 2",
    ),
    Mutant(
        "a TypeError within a constructor is taken for a refused argument",
        "data/spaces.py",
        "if not _refuses_arguments(cause, env_kwargs or {}):",
        "if False:",
    ),
    Mutant(
        "a missing package that a module imports is taken for the module",
        "data/env_ids.py",
        'if error.name and f"{module}.".startswith(f"{error.name}."):',
        "if True:",
    ),
    Mutant(
        "finite bounds of actions are replaced too",
        "data/action_codec.py",
        "low = np.where(space.bounded_below, space.low.astype(np.float64), low)",
        "low = np.where(False, space.low.astype(np.float64), low)",
    ),
    Mutant(
        "evaluation opens copies though it shares those of training",
        "data/env_copies.py",
        "        if self.shared:\n            return self.training()\n",
        "",
    ),
    Mutant(
        "workers lose the last observation of an episode",
        "data/worker_processes.py",
        "            last = obs\n            obs, _ = env.reset()",
        "            obs, _ = env.reset()\n            last = obs",
    ),
    Mutant(
        "workers stop at Ctrl-C",
        "data/worker_processes.py",
        "    for number in (signal.SIGINT, signal.SIGTERM):\n",
        "    for number in (signal.SIGTERM,):\n",
    ),
    Mutant(
        "workers end at SIGTERM",
        "data/worker_processes.py",
        "    for number in (signal.SIGINT, signal.SIGTERM):\n",
        "    for number in (signal.SIGINT,):\n",
    ),
    Mutant(
        "workers throw the same global dice",
        "data/worker_processes.py",
        "        _seed_global_generators(seed)\n",
        "",
    ),
    Mutant(
        "all workers get one seed",
        "data/worker_processes.py",
        "None if first is None else first + copy",
        "first",
    ),
    Mutant(
        "a worker that is stuck is waited for",
        "data/worker_processes.py",
        "        if process.is_alive():\n            process.kill()",
        "        pass",
    ),
    Mutant(
        "a worker does not close its copy after its run was killed",
        "data/worker_processes.py",
        '            command, argument = "close", None\n',
        '            time.sleep(600)\n            command, argument = "close", None\n',
    ),
    Mutant(
        "the wrong worker is said to have died",
        "data/worker_processes.py",
        "raise self._died(copy) from error\n        if failure",
        "raise self._died(0) from error\n        if failure",
    ),
    Mutant(
        "observations of a reset are written over by the next step",
        "data/worker_processes.py",
        "return self._observations.copy(), {}",
        "return self._observations, {}",
    ),
    Mutant(
        "a vectorization that resets in the next step is let through",
        "data/vectorization.py",
        "elif mode != AutoresetMode.SAME_STEP:",
        "elif False:",
    ),
    Mutant(
        "of copies that cannot all be made some stay open",
        "data/vectorization.py",
        "    stack.callback(env.close)\n    return env",
        "    return env",
    ),
    Mutant(
        "wrappers for training are around the copies for evaluation too",
        "data/data_module.py",
        "everywhere | {option: own}",
        "everywhere | self._own_wrappers",
    ),
    Mutant(
        "wrappers that change the spaces of some copies are let through",
        "data/data_module.py",
        "        self._check_own_wrappers()\n",
        "",
    ),
    Mutant(
        "a video lacks the last state",
        "videos/episodes.py",
        "\n    yield Step(camera.picture(), total, length)\n",
        "\n",
    ),
    Mutant(
        "recording moves the random state",
        "videos/episodes.py",
        "with random_state_kept(policy.model.device), ExitStack()",
        "with ExitStack()",
    ),
    Mutant(
        "episodes side by side have one seed",
        "videos/episodes.py",
        "zip(envs, seeds, kinds)",
        "zip(envs, [seeds[0]] * len(seeds), kinds)",
    ),
    Mutant(
        "half a video replaces the old one",
        "videos/video_file.py",
        "            if error is None:\n",
        "            if True:\n",
    ),
    Mutant(
        "every evaluation makes a video",
        "videos/episode_videos.py",
        "if not is_due or not trainer",
        "if not trainer",
    ),
    Mutant(
        "estimates change the actions that follow",
        "trained_policy.py",
        "            with random_state_kept(self.model.device):  # so",
        "            if True:  # so",
    ),
    Mutant(
        "estimates of observations that are not scaled",
        "trained_policy.py",
        "        return self.observation_scaling(seen), is_batch",
        "        return seen, is_batch",
    ),
    Mutant(
        "every wrapper says that it is around the first copy",
        "data/spaces.py",
        'f"{purpose}-{copy}"',
        'f"{purpose}-0"',
    ),
    Mutant(
        "the ratio counts the updates of a round as those of a step",
        "data/data_module.py",
        "ratio_of_updates(updates, self._steps_of_all)",
        "ratio_of_updates(updates, 1)",
    ),
    Mutant(
        "training goes on in an episode of evaluation",
        "data/data_module.py",
        "            self._finished += self.runner.drain_returns()\n            self.runner = None\n",
        "            pass\n",
    ),
    Mutant(
        "the scale of rewards remembers an episode that evaluation cut",
        "data/data_module.py",
        "                self.reward_scaling.restart()\n",
        "                pass\n",
    ),
    Mutant("damaged files are read", "buffer_files.py", "if damaged := parts.testzip():", "if damaged := None:"),
    Mutant(
        "the buffer of another checkpoint is read",
        "buffer_files.py",
        "if sums is not None and _sums(parts) != list(sums):",
        "if False:",
    ),
    Mutant(
        "a resumed run begins new episodes",
        "data/data_module.py",
        "reason := saved if isinstance(saved, str) else runner.load_state_dict(saved)",
        'reason := "of a mutant"',
    ),
    Mutant(
        "environments are saved in the middle of a round",
        "data/data_module.py",
        "if not isinstance(self.runner, EnvRunner) or self._collecting:",
        "if not isinstance(self.runner, EnvRunner):",
    ),
    Mutant(
        "MuJoCo's computed quantities are not saved",
        "data/env_states.py",
        "isinstance(array, np.ndarray) and array.flags.writeable}",
        'isinstance(array, np.ndarray) and part in ("qpos", "qvel")}',
    ),
    Mutant(
        "the generator of an environment is not restored",
        "data/env_states.py",
        "        generator.bit_generator.state = _decoded(content, None)\n",
        "",
    ),
    Mutant(
        "the first row of a resumed run covers only the updates since",
        "algorithms/base.py",
        "            self._metrics.load_state_dict(metrics, self.device)\n",
        "            pass\n",
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
        "self._draw(updates * self.batch_size)",
        "self._draw(self.batch_size).repeat(updates)",
    ),
    Mutant(
        "soft return without entropy",
        "algorithms/base.py",
        "learner_reward.sum() + self.temperature() * entropy.sum()",
        "learner_reward.sum()",
    ),
    Mutant(
        "terminal state bootstraps in the bias of Q",
        "algorithms/action_value.py",
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
    Mutant("gradients pile up", "algorithms/gradient_step.py", "optimizer.zero_grad()", "pass"),
    Mutant(
        "gradients keep the scale of float16", "algorithms/gradient_step.py", "self._scaler.unscale_(optimizer)", "pass"
    ),
    Mutant("the scaler never changes its scale", "algorithms/gradient_step.py", "self._scaler.update()", "pass"),
    Mutant(
        "updates of a round use stale 16-bit weights",
        "algorithms/gradient_step.py",
        "torch.clear_autocast_cache()",
        "pass",
    ),
    Mutant("no hook is heard", "algorithms/gradient_step.py", "if trainer and is_listening(trainer, hook)", "if False"),
    Mutant("hooks are called for nobody", "algorithms/gradient_step.py", " and is_listening(trainer, hook)", ""),
    Mutant(
        "gradients are not clipped", "algorithms/gradient_step.py", "if self._max_grad_norm is not None:", "if False:"
    ),
    Mutant("a loss of no network is dropped", "algorithms/checks.py", "elif name not in known:", "elif False:"),
    Mutant(
        "a loss of many numbers is summed",
        "algorithms/checks.py",
        "if loss.ndim or not loss.requires_grad:",
        "if False:",
    ),
    Mutant(
        "a loss that reaches no parameter is stepped",
        "algorithms/checks.py",
        "if all(parameter.grad is None for parameter in network.parameters()):",
        "if False:",
    ),
    Mutant(
        "a schedule is never stepped",
        "optimizers.py",
        "                    scheduler.step()",
        "                    pass",
    ),
    Mutant("a schedule follows the other clock", "algorithms/base.py", "if clock == self.", "if clock != self."),
    Mutant(
        "an exception is no exception", "optimizers.py", "self.exceptions().get(network, self.default)", "self.default"
    ),
    Mutant("an optimizer of no network is dropped", "optimizers.py", "if name not in networks:", "if False:"),
    Mutant(
        "optimizers of another number or order are taken by position",
        "algorithms/checks.py",
        "all(moved and moved <= network for moved, network in zip(given, own))",
        "True",
    ),
    Mutant(
        "a network without a loss stays unnamed", "algorithms/base.py", "optimizers.keys() - self._moved)", "set())"
    ),
    Mutant(
        "integer actions: the ends of the box at half their share",
        "data/action_codec.py",
        "np.floor(unit * (furthest.astype(np.float64) + 1))",
        "np.rint(unit * furthest.astype(np.float64))",
    ),
    Mutant(
        "integer actions: the largest bound overflows",
        "data/action_codec.py",
        "np.where(unit < 1, np.minimum(counted, furthest), furthest)",
        "counted",
    ),
    Mutant(
        "particles: the entropy at which one has all the weight for the one that they can tell",
        "particles.py",
        "action_dim * (math.log(2) + 0.5) - target",
        "action_dim * math.log(2) - target",
    ),
    Mutant(
        "the scale of rewards keeps its own discount",
        "data/data_module.py",
        "self.reward_scaling.begin(discount)",
        "pass",
    ),
    Mutant(
        "another discount of the scale than the algorithm's",
        "data/scaling.py",
        "if self._given not in (None, discount):",
        "if False:",
    ),
    Mutant(
        "backups below the range are not counted",
        "critics/categorical.py",
        "(target.atoms < self.centers[0]) | (target.atoms > self.centers[-1])",
        "target.atoms > self.centers[-1]",
    ),
    Mutant(
        "best.ckpt holds other weights than were evaluated",
        "callbacks/checkpoint.py",
        "        with averaged_weights_exchanged(trainer):\n            super()._save_checkpoint",
        "        with contextlib.nullcontext():\n            super()._save_checkpoint",
    ),
    Mutant(
        "an evaluation that breaks exchanges average and weights",
        "callbacks/checkpoint.py",
        "averaged_weights_exchanged(trainer) if in_evaluation else contextlib.nullcontext()",
        "contextlib.nullcontext()",
    ),
    Mutant(
        "the last checkpoint holds the average in place of what learns",
        "callbacks/checkpoint.py",
        "if trainer.should_stop or trainer.global_step //",
        "if trainer.global_step //",
    ),
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
        "-(log_probs.exp() * log_probs.masked_fill(log_probs == -math.inf, 0.0))",
        "-(log_probs.exp() * log_probs)",
    ),
    Mutant(
        "finite: probabilities normalized over all factors together",
        "actions.py",
        "torch.cat([functional.log_softmax(factor, -1) for factor in scores.split(self.counts, -1)], -1)",
        "functional.log_softmax(scores, -1)",
    ),
    Mutant(
        "finite: Boltzmann normalized over all factors together",
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
        "return prediction.mean(0).lerp(prediction.amin(0), self.pessimism)",
        "return prediction.mean(0)",
    ),
    Mutant(
        "finite: pessimism ignored",
        "critics/twin_heads.py",
        "return prediction.mean(0).lerp(prediction.amin(0), self.pessimism)",
        "return prediction.amin(0)",
    ),
    Mutant(
        "finite: a critic whose two methods disagree passes",
        "critics/building.py",
        "if not adds_up:",
        "if not fits:",
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
        "finite: soft Q-learning backs up the policy of this state",
        "algorithms/q_learning.py",
        "next_log_probs = self.actions.boltzmann(self.every_value(next_prediction), alpha)",
        "next_log_probs = self.actions.boltzmann(self.every_value(prediction), alpha)",
    ),
    Mutant(
        "finite: temperature of soft Q-learning steers away",
        "algorithms/q_learning.py",
        "self.temperature.loss(-entropy)",
        "self.temperature.loss(entropy)",
    ),
    Mutant(
        "finite: slow copy of soft Q-learning never follows",
        "algorithms/q_learning.py",
        "self.target_critic.follow(self.critic)",
        "pass",
    ),
    Mutant(
        "finite: soft Q-learning explores without its exploration",
        "algorithms/q_learning.py",
        "return self.exploration(q, self.actions.boltzmann(q, self.temperature()))",
        "return self.actions.sample(self.actions.boltzmann(q, self.temperature()))",
    ),
    Mutant(
        "finite: DiscreteSAC backs up the policy of this state",
        "algorithms/discrete_sac.py",
        "self.policy(batch.next_obs)",
        "self.policy(batch.obs)",
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
        "certain(self.target_value(batch.next_obs))",
        "certain(self.value(batch.next_obs))",
    ),
    Mutant(
        "finite: value regresses on Q without entropy",
        "algorithms/discrete_value_sac.py",
        "self.state_value_distribution(prediction, log_probs, alpha).mean()",
        "self.state_value_distribution(prediction, log_probs, 0 * alpha).mean()",
    ),
    Mutant(
        "finite: continuous actions are taken for finite ones",
        "algorithms/finite.py",
        "if not isinstance(actions, FiniteActions):",
        "if False:",
    ),
    # ---- distributions, networks and joint passes
    Mutant(
        "quantile levels start at zero",
        "objectives.py",
        "device=q.device) + 0.5)",
        "device=q.device))",
    ),
    Mutant(
        "quantile weights upside down",
        "objectives.py",
        "(levels * over + (1 - levels) * under)",
        "((1 - levels) * over + levels * under)",
    ),
    Mutant(
        "quantile loss moves its target",
        "objectives.py",
        "z, order = atoms.detach().double()",
        "z, order = atoms.double()",
    ),
    Mutant(
        "quantile loss blind to probabilities",
        "objectives.py",
        "p = probs.detach().double()",
        "p = torch.full_like(probs, 1 / probs.shape[-1]).double()",
    ),
    Mutant(
        "quantile loss: the Huber loss never turns linear from above",
        "objectives.py",
        "below(q), below(q + 1),",
        "below(q), below(q + 1e9),",
    ),
    Mutant(
        "quantile loss: running sums in float32",
        "objectives.py",
        "functional.pad((p * z**power).cumsum(-1), (1, 0))",
        "functional.pad((p * z**power).float().cumsum(-1), (1, 0)).double()",
    ),
    Mutant(
        "projection shares the other way round",
        "objectives.py",
        "histogram.scatter_add_(-1, below, probs * (1 - above))\n    return histogram.scatter_add_(-1, below + 1, probs * above)",
        "histogram.scatter_add_(-1, below, probs * above)\n    return histogram.scatter_add_(-1, below + 1, probs * (1 - above))",
    ),
    Mutant(
        "projection without the clamp at the ends",
        "objectives.py",
        "(last / (centers[-1] - centers[0]))).clamp(0, last)",
        "(last / (centers[-1] - centers[0])))",
    ),
    Mutant(
        "projection makes an index of NaN",
        "objectives.py",
        "position.nan_to_num().long()",
        "position.long()",
    ),
    Mutant(
        "Gaussian histogram not normalized",
        "objectives.py",
        "return mass / mass.sum(-1, keepdim=True)",
        "return mass",
    ),
    Mutant(
        "Gaussian histogram of a mean far outside",
        "objectives.py",
        "mean.clamp(edges[0], edges[-1]).unsqueeze(-1)",
        "mean.unsqueeze(-1)",
    ),
    Mutant(
        "cross-entropy moves its target",
        "objectives.py",
        "-(histogram.detach() * logits",
        "-(histogram * logits",
    ),
    Mutant(
        "Stein: particles attract each other",
        "objectives.py",
        "push = 2 * alpha / bandwidth",
        "push = -2 * alpha / bandwidth",
    ),
    Mutant("Stein: no repulsion", "objectives.py", "push = 2 * alpha / bandwidth", "push = 0 * alpha / bandwidth"),
    Mutant(
        "Stein: repulsion without temperature",
        "objectives.py",
        "push = 2 * alpha / bandwidth",
        "push = 2 / bandwidth",
    ),
    Mutant(
        "Stein: slopes of one's own only",
        "objectives.py",
        "(kernel @ (slope - push * particles)",
        "(slope * (count - 1) - kernel @ (push * particles)",
    ),
    Mutant(
        "Stein: a particle is its own neighbor",
        "objectives.py",
        " - torch.eye(count, dtype=squared.dtype, device=squared.device)",
        "",
    ),
    Mutant(
        "Stein: direction in bfloat16",
        "policy_updates.py",
        "torch.autocast(obs.device.type, enabled=False)",
        "torch.autocast(obs.device.type, enabled=torch.is_autocast_enabled(obs.device.type))",
    ),
    Mutant(
        "Stein: bandwidth without logarithm", "objectives.py", "/ math.log(count)).clamp(min=1e-3)", ").clamp(min=1e-3)"
    ),
    Mutant(
        "Stein: Jacobian of tanh dropped",
        "policy_updates.py",
        "reached + alpha.detach() * tanh_log_det(particles).sum(-1)",
        "reached",
    ),
    Mutant(
        "Stein: kernel on squashed actions",
        "policy_updates.py",
        "stein_direction(particles.detach(), slope",
        "stein_direction(particles.detach().tanh(), slope",
    ),
    Mutant("Stein: samples climb away", "policy_updates.py", "return -(direction * u)", "return (direction * u)"),
    Mutant(
        "Stein sampler: starts in one place",
        "policies/stein_sampler.py",
        "(noise + float32_or_more(",
        "(float32_or_more(",
    ),
    Mutant(
        "particles: density of the proposal forgotten",
        "objectives.py",
        "boltzmann_log_probs(q - alpha * log_density, alpha)",
        "boltzmann_log_probs(q, alpha)",
    ),
    Mutant(
        "particles: sum in place of mean",
        "objectives.py",
        "return log_weights, finite + log_density + math.log(q.shape[-1])",
        "return log_weights, finite + log_density",
    ),
    Mutant(
        "particles: the same for all states",
        "particles.py",
        "2 * torch.rand(len(obs), self.count, action_dim, device=obs.device) - 1",
        "(2 * torch.rand(1, self.count, action_dim, device=obs.device) - 1).repeat(len(obs), 1, 1)",
    ),
    Mutant("particles: volume of the box forgotten", "particles.py", "-action_dim * math.log(2)", "0.0"),
    Mutant(
        "continuous soft Q: backs up what the policy's entropy does not pay",
        "algorithms/continuous_soft_q_learning.py",
        "soft_mixture(atoms, probs, log_weights, log_prob, alpha)",
        "soft_mixture(atoms, probs, log_weights, 0 * log_prob, alpha)",
    ),
    Mutant(
        "continuous soft Q: worst guess",
        "algorithms/continuous_soft_q_learning.py",
        "q.argmax(1)]",
        "q.argmin(1)]",
    ),
    Mutant(
        "mixture: samples without gradient",
        "policies/mixture.py",
        "shift = (below - below.detach())",
        "shift = 0 * (below - below.detach())",
    ),
    Mutant(
        "mixture: coordinates independent of each other",
        "policies/mixture.py",
        "given = log_prob.log_softmax(-1)",
        "given = log_weight",
    ),
    Mutant(
        "the deterministic action is the least dense sample",
        "policies/base.py",
        "log_prob.argmax(1)]",
        "log_prob.argmin(1)]",
    ),
    Mutant(
        "DDPG: bootstraps from the learning policy",
        "algorithms/deterministic.py",
        "self.smoothing(self.target_policy(batch.next_obs))",
        "self.smoothing(self.policy(batch.next_obs))",
    ),
    Mutant(
        "DDPG: no smoothing",
        "algorithms/deterministic.py",
        "self.smoothing(self.target_policy(batch.next_obs))",
        "self.target_policy(batch.next_obs)",
    ),
    Mutant(
        "DDPG: policy descends Q", "algorithms/deterministic.py", "-self.q_value(batch.obs", "self.q_value(batch.obs"
    ),
    Mutant(
        "DDPG: plays with noise",
        "algorithms/deterministic.py",
        "        return self.policy(obs)\n\n    def _explore",
        "        return self.noise(self.policy(obs))\n\n    def _explore",
    ),
    Mutant("noise leaves the box", "noise.py", "(action + noise).clamp(-1, 1)", "action + noise"),
    Mutant(
        "one noise for all environments", "noise.py", "torch.randn_like(self.away)", "torch.randn_like(self.away[:1])"
    ),
    Mutant("noise forgets", "noise.py", "self.away.mul_(1 - self.theta * self.step)", "self.away.mul_(0)"),
    Mutant(
        "Huber error is squared",
        "objectives.py",
        '2 * functional.huber_loss(prediction, target.detach().expand_as(prediction), reduction="none")',
        "squared_error(prediction, target)",
    ),
    Mutant(
        "Huber error moves its target",
        "objectives.py",
        "functional.huber_loss(prediction, target.detach()",
        "functional.huber_loss(prediction, target",
    ),
    Mutant(
        "twin heads: error ignored",
        "critics/twin_heads.py",
        "self.error(prediction, target.mean())",
        "(prediction - target.mean()).square()",
    ),
    Mutant(
        "twin: error ignored",
        "critics/twin.py",
        "self.error(prediction, target.mean())",
        "(prediction - target.mean()).square()",
    ),
    Mutant(
        "discrete SAC explores by its policy alone",
        "algorithms/finite.py",
        "return self.exploration(self.every_q(obs), self.log_probs(obs))",
        "return self.actions.sample(self.log_probs(obs))",
    ),
    Mutant(
        "multi-goal: walls let through",
        "exact/multi_goal.py",
        'mode="nearest")  # repeats',
        'mode="constant")  # repeats',
    ),
    Mutant(
        "multi-goal: goes on from a goal",
        "exact/multi_goal.py",
        "rest = pay + discount * goes_on * values",
        "rest = pay + discount * values",
    ),
    Mutant(
        "multi-goal: effort unpaid",
        "exact/multi_goal.py",
        "np.asarray(self._worth(self.world.after(state, played)) - effort)",
        "np.asarray(self._worth(self.world.after(state, played)))",
    ),
    Mutant(
        "multi-goal: samples ignore what follows",
        "exact/multi_goal.py",
        "accepted = np.log(rng.random(len(left))) <",
        "accepted = 0 * np.log(rng.random(len(left))) >",
    ),
    Mutant("rewards unscaled", "data/scaling.py", "        return self._scale\n", "        return 1.0\n"),
    Mutant(
        "mixture without entropy",
        "objectives.py",
        "atoms, weights = q + bonus.unsqueeze(-1)",
        "atoms, weights = q",
    ),
    Mutant(
        "mixture forgets that one factor stands for all",
        "algorithms/finite.py",
        "soft_mixture(factors * atoms",
        "soft_mixture(atoms",
    ),
    Mutant(
        "batch statistics after training",
        "networks/layers.py",
        "        if not self.training:\n            return torch.addcmul",
        "        if False:\n            return torch.addcmul",
    ),
    Mutant(
        "renormalization's momentum the other way round",
        "networks/layers.py",
        "            self.mean.lerp_(mean, self.momentum)\n            self.variance.lerp_(variance, self.momentum)\n",
        "            self.mean.lerp_(mean, 1 - self.momentum)\n            self.variance.lerp_(variance, 1 - self.momentum)\n",
    ),
    Mutant(
        "renormalization without warm-up",
        "networks/layers.py",
        "self.passes >= self.warmup",
        "self.passes >= 0",
    ),
    Mutant(
        "renormalization with a gradient through r and d",
        "networks/layers.py",
        "        with torch.no_grad():\n            warm",
        "        with torch.enable_grad():\n            warm",
    ),
    Mutant(
        "renormalization clips r on one side",
        "networks/layers.py",
        ".clamp(1 / self.r_max, self.r_max)",
        ".clamp(max=self.r_max)",
    ),
    Mutant(
        "renormalization with unbiased variance",
        "networks/layers.py",
        "return centered, mean, centered.square().mean(1, keepdim=True)",
        "return centered, mean, centered.var(1, keepdim=True)",
    ),
    Mutant(
        "orthogonal members are tied",
        "networks/layers.py",
        "    for weight in layer.weight.data:\n        nn.init.orthogonal_(weight, gain)\n",
        "    nn.init.orthogonal_(layer.weight.data[0], gain)\n    layer.weight.data[:] = layer.weight.data[0].clone()\n",
    ),
    Mutant(
        "weights of unit inputs instead of unit outputs",
        "networks/layers.py",
        "functional.normalize(self.weight, dim=1)",
        "functional.normalize(self.weight, dim=2)",
    ),
    Mutant(
        "scale alone is bounded",
        "networks/layers.py",
        "both = torch.cat((self.scale, self.shift), dim=-1)",
        "both = self.scale",
    ),
    Mutant(
        "dropout after the normalization",
        "networks/mlp.py",
        "                nn.Dropout(dropout),\n                EnsembleLayerNorm(members, pair[1]),\n",
        "                EnsembleLayerNorm(members, pair[1]),\n                nn.Dropout(dropout),\n",
    ),
    Mutant(
        "renormalization before the ReLU",
        "networks/batch_renorm.py",
        "nn.ReLU(), BatchRenorm(members, pair[1], warmup=warmup)",
        "BatchRenorm(members, pair[1], warmup=warmup), nn.ReLU()",
    ),
    Mutant(
        "residual block without its input",
        "networks/residual.py",
        "return input + super().forward(input)",
        "return super().forward(input)",
    ),
    Mutant(
        "SimBa without its last normalization",
        "networks/residual.py",
        "            EnsembleLayerNorm(members, width),\n            orthogonal(",
        "            orthogonal(",
    ),
    Mutant(
        "steady switches dropout off",
        "targets.py",
        "each._buffers and each.training",
        "each.training",
    ),
    Mutant(
        "steady forgets to restore",
        "targets.py",
        "            each.training = True",
        "            pass",
    ),
    Mutant(
        "a slow copy normalizes by its batch",
        "targets.py",
        "with torch.no_grad(), frozen_statistics(self.network):\n            next_prediction",
        "with torch.no_grad():\n            next_prediction",
    ),
    Mutant(
        "joint pass with a gradient through the next state",
        "targets.py",
        "both[:, len(now[0]) :].detach()",
        "both[:, len(now[0]) :]",
    ),
    Mutant(
        "joint pass that is two passes",
        "targets.py",
        "        both = ask(network, *(torch.cat(pair) for pair in zip(now, following, strict=True)))\n",
        "        both = torch.cat((ask(network, *now), ask(network, *following)), 1)\n",
    ),
    Mutant(
        "joint copy asked of the network",
        "targets.py",
        "next_prediction = ask(self.network, *both)",
        "next_prediction = ask(network, *both)",
    ),
    Mutant(
        "ensemble always draws its first members",
        "critics/ensemble.py",
        "torch.randperm(self.members, device=prediction.device)",
        "torch.arange(self.members, device=prediction.device)",
    ),
    Mutant(
        "ensemble believes the larger",
        "critics/ensemble.py",
        "prediction[drawn].amin(0)",
        "prediction[drawn].amax(0)",
    ),
    Mutant(
        "truncation drops the smallest",
        "critics/quantile.py",
        ".sort(-1).values",
        ".sort(-1, descending=True).values",
    ),
    Mutant(
        "truncation member by member",
        "critics/quantile.py",
        ": members * (quantiles - self.dropped)",
        ": members * quantiles - self.dropped",
    ),
    Mutant(
        "histogram with the larger mean believed",
        "critics/categorical.py",
        ".argmin(0)",
        ".argmax(0)",
    ),
    Mutant(
        "histograms' members averaged for the policy",
        "critics/categorical.py",
        "return self._means(prediction).amin(0)",
        "return self._means(prediction).mean(0)",
    ),
    Mutant(
        "two-hot of the whole distribution",
        "critics/categorical.py",
        "projection(*ReturnDistribution.certain(returns.mean()), centers)",
        "projection(returns.atoms, returns.probs, centers)",
    ),
    Mutant(
        "members alike pass",
        "critics/building.py",
        "not alike",
        "True",
    ),
    Mutant(
        "probabilities of any sum pass",
        "critics/building.py",
        "torch.allclose(sums, torch.ones_like(sums), atol=1e-3)",
        "True",
    ),
    Mutant(
        "looking at a critic moves its statistics",
        "contracts.py",
        "    part.eval()\n    with torch.random.fork_rng",
        "    with torch.random.fork_rng",
    ),
    Mutant(
        "looking at a critic moves the random state",
        "contracts.py",
        "with torch.random.fork_rng(devices=[]), ",
        "with ",
    ),
    Mutant(
        "smooth log std ends at the wrong height",
        "policies/squashed_gaussian.py",
        "(output.tanh() + 1) / 2",
        "output.sigmoid()",
    ),
    Mutant(
        "log std not clipped from below",
        "policies/squashed_gaussian.py",
        "output.clamp(self.low, self.high)",
        "output.clamp(max=self.high)",
    ),
    Mutant(
        "policy delay off by one",
        "algorithms/action_value.py",
        "(self.gradient_steps + 1) % self.policy_delay",
        "self.gradient_steps % self.policy_delay",
    ),
    Mutant("a loss may train another network", "algorithms/checks.py", "if other != name and parameters:", "if False:"),
    Mutant("a graph replays its first batch", "execution.py", "own.copy_(given)", "pass"),
    Mutant(
        "graphs do not know phases",
        "execution.py",
        "return self._graphs[key].replay(batch)\n        if",
        "return next(iter(self._graphs.values())).replay(batch)\n        if",
    ),
    Mutant(
        "hooks go unheard in silence",
        "execution.py",
        "if obstacle := chosen.obstacle(hooks, scales, device):",
        "if False:",
    ),
    Mutant(
        "a captured learning rate stays",
        "execution.py",
        'group["lr"] = torch.as_tensor(group["lr"], device=group["params"][0].device)',
        "pass",
    ),
    Mutant(
        "compiled losses reach other networks",
        "execution.py",
        "torch.autograd.grad(loss, parameters[name], allow_unused=True)",
        "torch.autograd.grad(sum(losses.values()), parameters[name], allow_unused=True, retain_graph=True)",
    ),
    Mutant(
        "several devices are let in",
        "algorithms/checks.py",
        "if not isinstance(trainer.strategy, SingleDeviceStrategy | GradientAveragingStrategy):",
        "if trainer.strategy is None:",
    ),
    Mutant("an optimizer is not tried", "optimizers.py", "        self._try_step(network, parameters)\n", ""),
    Mutant(
        "an optimizer is tried on the networks themselves",
        "optimizers.py",
        "[nn.Parameter(each.detach().clone()) for each in parameters]",
        "parameters",
    ),
    Mutant(
        "a storage of lists is taken",
        "data/replay.py",
        "if not isinstance(storage, LazyTensorStorage):",
        "if storage is None:",
    ),
    Mutant(
        "constraints not applied",
        "algorithms/base.py",
        "                module.project()",
        "                pass",
    ),
    Mutant(
        "slow copies are projected",
        "algorithms/base.py",
        "self._of_kind(AbstractConstraint, name)",
        "self._of_kind(AbstractConstraint)",
    ),
    Mutant(
        "termination lets NaN probabilities through",
        "algorithms/action_value.py",
        "next_value.probs.masked_fill(terminated, 1 / atoms.shape[-1])",
        "next_value.probs",
    ),
    Mutant(
        "backup after termination",
        "algorithms/action_value.py",
        "terminated, next_value.atoms, self.discount)",
        "torch.zeros_like(terminated), next_value.atoms, self.discount)",
    ),
    Mutant(
        "playing moves running statistics",
        "algorithms/base.py",
        "        with frozen_statistics(self):\n            action = self._act(",
        "        with torch.no_grad():\n            action = self._act(",
    ),
    Mutant(
        "the next action moves the policy's statistics",
        "algorithms/sac.py",
        "with torch.no_grad(), frozen_statistics(self.policy):",
        "with torch.no_grad():",
    ),
    Mutant(
        "the policy's question moves the critic's statistics",
        "targets.py",
        "        with frozen_statistics(module):\n            yield\n    finally:\n        for parameter",
        "        yield\n    finally:\n        for parameter",
    ),
    # ---- on policy
    Mutant(
        "advantages run on over the end of an episode",
        "objectives.py",
        "following.masked_fill(done[t], 0.0)",
        "following",
    ),
    Mutant(
        "advantages move with the policy",
        "objectives.py",
        "return -advantage.detach() * log_prob - alpha.detach() * entropy",
        "return -advantage * log_prob - alpha * entropy",
    ),
    Mutant(
        "on policy: entropy is punished",
        "objectives.py",
        "-advantage.detach() * log_prob - alpha.detach() * entropy",
        "-advantage.detach() * log_prob + alpha.detach() * entropy",
    ),
    Mutant(
        "surrogate: the larger of the two",
        "objectives.py",
        "torch.minimum(ratio * advantage",
        "torch.maximum(ratio * advantage",
    ),
    Mutant(
        "surrogate: never cut off from below",
        "objectives.py",
        "ratio.clamp(1 - clip, 1 + clip)",
        "ratio.clamp(max=1 + clip)",
    ),
    Mutant(
        "PPO: alpha not divided by the deviation",
        "algorithms/ppo.py",
        "entropy, alpha, self.clip)",
        "entropy, alpha * deviation, self.clip)",
    ),
    Mutant(
        "PPO: the policy that played is forgotten",
        "algorithms/ppo.py",
        "distribution.log_prob(batch.action) - batch.log_prob",
        "distribution.log_prob(batch.action) - distribution.log_prob(batch.action).detach()",
    ),
    Mutant(
        "minibatches: the same order in every pass",
        "algorithms/feeding.py",
        "torch.randperm(length, device=whole[0].device)",
        "torch.arange(length, device=whole[0].device)",
    ),
    Mutant(
        "trajectory entropy: that of the state at hand counts twice",
        "algorithms/on_policy.py",
        "self.distribution(rollout.next_obs).entropy()",
        "self.distribution(rollout.obs).entropy()",
    ),
    Mutant(
        "trajectory entropy: none",
        "entropy_objectives.py",
        "        return alpha\n",
        "        return torch.zeros_like(alpha)\n",
    ),
    Mutant(
        "current entropy: that of the trajectory",
        "entropy_objectives.py",
        "return torch.zeros_like(alpha)",
        "return alpha",
    ),
    Mutant(
        "advantages without lambda",
        "algorithms/on_policy.py",
        "rollout.done, self.discount * self.gae_lambda)",
        "rollout.done, self.discount)",
    ),
    Mutant(
        "V regresses on advantages",
        "algorithms/on_policy.py",
        "(advantage + value).flatten()",
        "advantage.flatten()",
    ),
    Mutant(
        "on policy: the temperature pushes entropy away from its target",
        "algorithms/a2c.py",
        "self.temperature.loss(-entropy.detach()).mean()",
        "-self.temperature.loss(-entropy.detach()).mean()",
    ),
    Mutant(
        "the bias of V forgets the time limit",
        "algorithms/on_policy.py",
        "if episode.terminated else value[-1] + weight * entropy[-1]",
        "if True else value[-1] + weight * entropy[-1]",
    ),
    Mutant(
        "REINFORCE learns from episodes that are not over",
        "algorithms/reinforce.py",
        "whole = rollout.done.flip(0).cummax(0).values.flip(0)",
        "whole = rollout.done.any() | torch.ones_like(rollout.done)",
    ),
    Mutant(
        "REINFORCE without its comparison",
        "algorithms/reinforce.py",
        "returns - self.baseline, returns)",
        "returns, returns)",
    ),
    Mutant("several processes: the sum of their gradients", "distributed.py", "flat /= processes()", "pass"),
    Mutant(
        "several processes: everyone's own running statistics",
        "distributed.py",
        "return [buffer for _, buffer in named if buffer.is_floating_point()]",
        "return []",
    ),
    Mutant(
        "several processes: one seed for all",
        "distributed.py",
        "if rank() > 0:\n        own",
        "if rank() > 9:\n        own",
    ),
    Mutant(
        "several processes: only the one that is asked stops",
        "distributed.py",
        "dist.all_reduce(of_all, dist.ReduceOp.MAX)",
        "pass",
    ),
    Mutant(
        "several processes: everyone's own first weights",
        "strategy.py",
        "copy_from_first(shared_tensors(self.model))",
        "pass",
    ),
    Mutant("PPO: the mean contains the advantage", "algorithms/ppo.py", "* size / (size - 1)", ""),
    Mutant(
        "REINFORCE: the baseline contains the return",
        "algorithms/reinforce.py",
        "returns - self.baseline, returns)",
        "returns - returns.mean(), returns)",
    ),
    Mutant(
        "REINFORCE: one decay for a rollout of any number of episodes",
        "algorithms/reinforce.py",
        "self.baseline_decay**episodes",
        "self.baseline_decay",
    ),
    Mutant(
        "Gaussian: entropy of one action for all",
        "policies/gaussian.py",
        "each.sum().expand(len(self._mean))",
        "each.mean().expand(len(self._mean))",
    ),
    Mutant(
        "Gaussian: log-probability of the deviation's square",
        "policies/gaussian.py",
        "(action - self._mean) / self._log_std.exp(), self._log_std)",
        "(action - self._mean) / self._log_std.exp(), 2 * self._log_std)",
    ),
    Mutant(
        "finite actions: impossible ones spoil the log-probability",
        "policies/base.py",
        "self._log_probs.masked_fill(action == 0, 0.0).sum(-1)",
        "(self._log_probs * action).sum(-1)",
    ),
    Mutant(
        "rollouts: observations scaled by what was learned after them",
        "data/data_module.py",
        "        self._store(rollout)\n        for obs, reward, done in zip(*self._seen_by_scalings(rollout)):\n            self.observation_scaling.update(obs)\n            self.reward_scaling.update(reward, done.numpy())\n",
        "        for obs, reward, done in zip(*self._seen_by_scalings(rollout)):\n            self.observation_scaling.update(obs)\n            self.reward_scaling.update(reward, done.numpy())\n        self._store(rollout)\n",
    ),
    Mutant(
        "rollouts: rewards not scaled",
        "data/rollout.py",
        "rollout.reward * self.reward_scaling.scale()",
        "rollout.reward",
    ),
    Mutant(
        "REPPO: no entropy of later states",
        "algorithms/reppo.py",
        "value = soft_value(q, log_prob, self.temperature()).view_as(rollout.reward)",
        "value = q.view_as(rollout.reward)",
    ),
    Mutant(
        "REPPO: returns run on from one row's own value",
        "algorithms/reppo.py",
        "q.view_as(rollout.reward).roll(1, 0)",
        "q.view_as(rollout.reward)",
    ),
    Mutant(
        "REPPO: climbs outside the trust region",
        "algorithms/reppo.py",
        "torch.where(outside, multiplier.detach() * divergence, climb)",
        "torch.where(~outside, multiplier.detach() * divergence, climb)",
    ),
    Mutant(
        "REPPO: the multiplier is a part of the policy's loss",
        "algorithms/reppo.py",
        "multiplier.detach() * divergence",
        "multiplier * divergence",
    ),
    Mutant(
        "REPPO: the multiplier grows within the bound",
        "algorithms/reppo.py",
        "(self.bound - divergence).detach()",
        "(divergence - self.bound).detach()",
    ),
    Mutant(
        "REPPO: held against the policy of the first rollout for ever",
        "algorithms/reppo.py",
        "self.played_policy.load_state_dict(self.policy.state_dict())",
        "pass",
    ),
    Mutant(
        "the divergence is that of the new policy from the old one",
        "policies/squashed_gaussian.py",
        "kl_divergence(before, now)",
        "kl_divergence(now, before)",
    ),
    Mutant(
        "outputs rounded to bfloat16",
        "networks/layers.py",
        "with torch.autocast(input.device.type, enabled=False):",
        "with torch.autocast(input.device.type, dtype=torch.bfloat16):",
    ),
    Mutant(
        "measured Q the smaller of two sums over factors",
        "algorithms/finite.py",
        "return (self.every_q(obs) * action).sum(-1)",
        "return self.critic.value(self.critic(obs, action))",
    ),
    Mutant(
        "entropy behind a time limit paid to REINFORCE",
        "algorithms/reinforce.py",
        "rollout._replace(terminated=rollout.done)",
        "rollout",
    ),
    Mutant(
        "a value that callbacks have seen is kept",
        "metrics/monitors.py",
        "trainer.callback_metrics.pop(name, None)",
        "pass",
    ),
    Mutant(
        "a checkpoint is kept without the value that decides about it",
        "metrics/monitors.py",
        "callback.save_top_k = kept if comes else 0",
        "callback.save_top_k = kept",
    ),
    Mutant(
        "a column that cannot come is waited for",
        "metrics/monitors.py",
        "if callback.monitor not in known and not self._may_come(str(callback.monitor)):",
        "if False:",
    ),
    Mutant(
        "W&B's line about a setting that was not given", "loggers/wandb.py", 'del self._wandb_init["anonymous"]', "pass"
    ),
    Mutant("WANDB_NAME loses to the folder", "loggers/wandb.py", 'name=name or environment("NAME")', "name=name"),
    Mutant(
        "WANDB_RUN_ID loses to the folder",
        "loggers/wandb.py",
        'environment("RUN_ID") or _own_id(folder / ID_FILE)',
        "_own_id(folder / ID_FILE)",
    ),
    Mutant("WANDB_DIR loses to the folder", "loggers/wandb.py", 'environment("DIR") or str(folder)', "str(folder)"),
    Mutant(
        "a W&B process that has ended is not noticed",
        "loggers/wandb.py",
        "return process is not None and process.poll() is not None",
        "return False",
    ),
    Mutant(
        "W&B is started again without a pause",
        "loggers/wandb.py",
        "        if not is_first:\n            self._retry_at = time.monotonic() + RETRY_SECONDS",
        "        pass",
    ),
    Mutant(
        "a W&B run that starts again has no configuration",
        "loggers/wandb.py",
        "if self._hyperparams is not None:",
        "if False:",
    ),
    Mutant(
        "a resumed W&B run forgets its best evaluation",
        "loggers/wandb.py",
        "for row in rows if row.get(RETURN)",
        "for row in []",
    ),
    Mutant(
        "a later evaluation as good as the best one replaces it",
        "loggers/wandb.py",
        "if value > self._best[0]:",
        "if value >= self._best[0]:",
    ),
    Mutant(
        "checkpoints are uploaded offline",
        "loggers/wandb.py",
        'if self._log_model and self._wandb_init["mode"] not in OFFLINE:',
        "if self._log_model:",
    ),
    Mutant(
        "a download that broke off counts as complete",
        "loggers/wandb_artifacts.py",
        'part = folder.with_name(f".{os.getpid()}-{folder.name}")',
        "part = folder",
    ),
    Mutant(
        "a checkpoint without its buffer is resumed",
        "checkpoint_files.py",
        'return "optimizer_states" in checkpoint and all(',
        'return "optimizer_states" in checkpoint or all(',
    ),
    Mutant("histograms of numbers that are not finite", "loggers/media.py", "each[each.isfinite()] for", "each for"),
    Mutant("every episode of an environment has the first seed", "data/env_runner.py", "seeds[index] = None", "pass"),
    Mutant("a log gets a line at every step", "progress.py", "mininterval=SECONDS, ", "mininterval=0, "),
    Mutant("one batch and all batches are the same", "cli/whole_numbers.py", "float in get_args(typehint)", "False"),
    Mutant(
        "a run that goes on with another seed draws on",
        "callbacks/random_states.py",
        "self._loaded and self._seed == torch.initial_seed()",
        "self._loaded",
    ),
    Mutant(
        "a warm start keeps the other run's clock", "callbacks/warm_start.py", "pl_module.advance_schedules(0)", "pass"
    ),
    Mutant(
        "a buffer on disk does not go on",
        "data/replay.py",
        "if isinstance(self.buffer.storage, LazyMemmapStorage):",
        "if False:",
    ),
    Mutant(
        "a run goes on in a world with other arguments",
        "data/data_module.py",
        'for name in ("env_id", "env_kwargs", "wrappers", "action_bounds") if',
        'for name in ("env_id", "wrappers") if',
    ),
    Mutant(
        "a run goes on with other wrappers",
        "data/data_module.py",
        'for name in ("env_id", "env_kwargs", "wrappers", "action_bounds") if',
        'for name in ("env_id", "env_kwargs", "action_bounds") if',
    ),
    Mutant(
        "a stuck worker outlives a run that is killed",
        "data/worker_processes.py",
        "    threading.Thread(target=_end_with_run, daemon=True).start()\n",
        "",
    ),
    Mutant(
        "a stuck worker holds up SIGTERM",
        "data/worker_processes.py",
        "            self._sigterm = time.monotonic()\n",
        "            pass\n",
    ),
    Mutant(
        "a run goes on with rewards of another size",
        "data/scaling.py",
        '        _check_same(self, "scale", state, self._scale)\n',
        "        pass\n",
    ),
    Mutant(
        "an optimizer takes on the moments of another kind",
        "optimizers.py",
        'state | {"kind": type(optimizer).__name__}',
        "state",
    ),
    Mutant(
        "scores for log-probabilities",
        "policies/building.py",
        "if not math.isclose(total, 1, abs_tol=1e-3):",
        "if False:",
    ),
    Mutant(
        "REPPO: a policy with running statistics",
        "algorithms/reppo.py",
        "        check_learns_as_it_plays(self, self.policy, obs_dim)\n",
        "",
    ),
    Mutant(
        "on policy: a policy with running statistics or dropout",
        "algorithms/on_policy.py",
        "        check_learns_as_it_plays(self, self.policy, obs_dim)\n",
        "",
    ),
    Mutant(
        "a run that goes on draws its first noise again",
        "callbacks/random_states.py",
        "torch.set_rng_state(cpu)",
        "pass",
    ),
    Mutant(
        "checkpoints read onto the device that wrote them",
        "checkpoint_files.py",
        'map_location: Any | None = "cpu", weights_only',
        "map_location: Any | None = None, weights_only",
    ),
    Mutant(
        "DDPG: the policy's copy stays behind",
        "algorithms/deterministic.py",
        "self.target_policy.follow(self.policy)",
        "pass",
    ),
    Mutant(
        "on policy: next observations unscaled",
        "data/rollout.py",
        "next_obs=self.observation_scaling(rollout.next_obs)",
        "next_obs=rollout.next_obs",
    ),
    Mutant(
        "A2C: V regresses on advantages",
        "algorithms/a2c.py",
        "squared_error(value, batch.returns)",
        "squared_error(value, batch.advantage)",
    ),
    Mutant(
        "PPO: V regresses on advantages",
        "algorithms/ppo.py",
        "squared_error(value, batch.returns)",
        "squared_error(value, batch.advantage)",
    ),
    Mutant("DQN: a soft maximum", "algorithms/dqn.py", "alpha=0.0", "alpha=0.2"),
    Mutant("TD3: policy at every update", "algorithms/td3.py", "policy_delay: int = 2", "policy_delay: int = 1"),
    Mutant("TD3: smoothing unclipped", "algorithms/td3.py", "std=0.2, clip=0.5", "std=0.2"),
    Mutant(
        "REINFORCE: stops once episodes last",
        "algorithms/reinforce.py",
        "elif not any(ended) and self.gradient_steps == 0:",
        "else:",
    ),
    Mutant(
        "recording: only terminations end episodes",
        "data/recorded_transitions.py",
        "(met.terminated | (self.obs != met.next_obs).any(-1))",
        "met.terminated",
    ),
    Mutant(
        "recording: told from its start after a cut",
        "data/recorded_transitions.py",
        "rows, num_envs, passed",
        "rows, num_envs, 0",
    ),
    Mutant(
        "a smaller buffer keeps the oldest rows",
        "data/replay.py",
        "range(max(rows.first, rows.stop - self.capacity), rows.stop, ROWS_AT_ONCE)",
        "range(rows.first, min(rows.stop, rows.first + self.capacity), ROWS_AT_ONCE)",
    ),
    Mutant(
        "a buffer of its own capacity is moved",
        "data/replay.py",
        "if full := len(rows) == self.capacity:",
        "if full := False:",
    ),
    Mutant(
        "a buffer that goes on is counted anew",
        "data/replay.py",
        "self._stream, self._stored = rows.stream, rows.stop",
        "self._stream, self._stored = rows.stream, len(rows)",
    ),
    Mutant(
        "all rows are written at every save",
        "buffer_files.py",
        "kept = [each for each in written if each.stop > rows.first]",
        "kept = []",
    ),
    Mutant(
        "many small saves leave many files",
        "buffer_files.py",
        "while kept and kept[-1].start",
        "while False and kept[-1].start",
    ),
    Mutant(
        "a large buffer is one file", "buffer_files.py", "largest = max(len(rows) // LARGEST", "largest = max(len(rows)"
    ),
    Mutant(
        "a checkpoint refers to files that somebody removed",
        "checkpoint_files.py",
        "if not all((folder / each.name).is_file() for each in known):",
        "if False:",
    ),
    Mutant(
        "rows of the checkpoint before are removed",
        "checkpoint_files.py",
        "needed = frozenset.union(*(each.files for each in kept))",
        "needed = kept[0].files",
    ),
    Mutant(
        "a killed run loses metrics from before its checkpoint",
        "callbacks/checkpoint.py",
        "logger.save()  #",
        "pass  #",
    ),
    Mutant(
        "a reward that becomes infinite in the buffer is stored",
        "data/env_runner.py",
        "if not np.isfinite(stored).all():",
        "if not np.isfinite(values).all():",
    ),
    Mutant(
        "a damaged checkpoint becomes the previous one",
        "checkpoint_files.py",
        "moves = count > 0 and old[0] is not None and",
        "moves = count > 0 and (old[0] is None or True) and",
    ),
    Mutant("a checkpoint of a newer version is read", "checkpoint_files.py", "> FORMAT:", "> FORMAT + 9:"),
    Mutant(
        "a buffer fits wherever it has as many bytes as rows",
        "data/storage_space.py",
        "left is None or rows * row <= left",
        "left is None or rows <= left",
    ),
    Mutant(
        "what a control group has used is not taken from its limit",
        "free_space.py",
        "int(texts[0]) - int(texts[1]) + sum(given_back)",
        "int(texts[0])",
    ),
    Mutant(
        "a warning of a full disk forgets the buffer that is replaced",
        "callbacks/checkpoint.py",
        "math.ceil(DISK * data.saved_bytes) if",
        "data.saved_bytes if",
    ),
    Mutant(
        "test plays the episodes by which the best checkpoint was chosen",
        "data/data_module.py",
        '{True: "test mode", False: "test sample"}',
        '{True: "mode", False: "sample"}',
    ),
    Mutant(
        "a row is appended to half of one",
        "loggers/tidy_csv.py",
        "new or not self._whole or",
        "new or",
    ),
    Mutant(
        "columns are taken on before they are written",
        "loggers/tidy_csv.py",
        "        write_whole(self.path, text.getvalue(), ADVICE)",
        "        self._columns = columns\n        write_whole(self.path, text.getvalue(), ADVICE)",
    ),
    Mutant(
        "rows wider than the header are read",
        "metrics/metrics_csv.py",
        "if None not in row and None not in row.values()",
        "if None not in row.values()",
    ),
    Mutant(
        "a file takes another's place before it is on disk",
        "files.py",
        "            os.fsync(file.fileno())",
        "            pass",
    ),
    Mutant(
        "seeds are drawn apart for each variant",
        "comparison/statistics.py",
        "return [[task[..., draw] for task, draw in zip(sample, draws)] for sample in samples]",
        "return [[task[..., generator.integers(task.shape[-1], size=(resamples, task.shape[-1]))] for task in sample] for sample in samples]",
    ),
    Mutant(
        "runs of different seeds are compared",
        "comparison/results.py",
        "shared = [seed for seed in self.seeds[variant] if seed in self.seeds[other]]\n        first, second = ([self.seeds[name].index(seed) for seed in shared] for name in (variant, other))",
        "number = min(len(self.seeds[variant]), len(self.seeds[other]))\n        first, second = (list(range(number)) for name in (variant, other))",
    ),
    Mutant(
        "every trial of a sweep draws the same values",
        "sweep/study.py",
        "np.random.SeedSequence([sweep.sampler_seed, len(trials_of(study))])",
        "np.random.SeedSequence([sweep.sampler_seed, 0])",
    ),
    Mutant(
        "a sweep that is resumed asks for other trials",
        "sweep/study.py",
        "study.sampler = TPESampler(seed=int(seed))",
        "study.sampler = study.sampler if trials_of(study) else TPESampler(seed=int(seed))",
    ),
    Mutant(
        "the value of a trial is the mean of its seeds",
        "sweep/trials.py",
        "value = float(interquartile_mean(scores))",
        "value = float(scores.mean())",
    ),
    Mutant(
        "a trial without pruning",
        "sweep/trials.py",
        "if falls_behind and step < end",
        "if False and step < end",
    ),
    Mutant(
        "hyperband forgets the trials that it did not prune",
        "sweep/trials.py",
        "falls_behind = active.trial.should_prune()  # at every step, since hyperband remembers the value\n                if falls_behind and step < end and not active.is_finished:",
        "if step < end and not active.is_finished and active.trial.should_prune():",
    ),
    Mutant(
        "a pruned trial may be the best",
        "sweep/results.py",
        "return order, 0 if",
        "return 0, 0 if",
    ),
    Mutant(
        "a killed sweep leaves its trials alone",
        "sweep/study.py",
        "return [Trial(study, trial._trial_id) for trial in ours]",
        "return []",
    ),
    Mutant(
        "each folder resumes the trials of all folders",
        "sweep/study.py",
        'trial.user_attrs.get(FOLDER, folder if alone else "") == folder',
        "True",
    ),
    Mutant(
        "a run that a sweep stops counts as failed",
        "backends/pool.py",
        "if how.status == 0 or run in self._dropped:",
        "if how.status == 0:",
    ),
    Mutant(
        "exported policy without the scaling of observations",
        "deployment/exported_policy.py",
        "seen = self._scaling(obs).to(",
        "seen = obs.to(",
    ),
    Mutant(
        "exported policy written although its actions are others",
        "deployment/exported_policy.py",
        "if different > (TIES if",
        "if len(flat) < (TIES if",
    ),
    Mutant(
        "exported real actions may differ as finite ones may",
        "deployment/exported_policy.py",
        "(TIES if module.draws or not _has_numbers(policy.codec.space) else 0)",
        "TIES",
    ),
    Mutant(
        "exported actions without the range of the environment",
        "data/action_codec.py",
        "scaled = (low * (1 - unit) + high * unit).clamp(low, high)",
        "scaled = unit",
    ),
    Mutant(
        "exported finite actions counted from zero",
        "data/action_codec.py",
        "(chosen + torch.as_tensor(self._start, device=chosen.device))",
        "chosen",
    ),
    Mutant(
        "exported noise of a batch in the order of its numbers",
        "deployment/draws.py",
        "each.movedim(0, draw.axis).flatten",
        "each.movedim(0, draw.axis + 1).flatten",
    ),
    Mutant(
        "a killed run is not retried",
        "backends/pool.py",
        "if how.was_killed and self._retried[run] < self._retries:",
        "if self._retried[run] < 0:",
    ),
    Mutant(
        "a run that ended with an error is retried",
        "backends/run_process.py",
        "self.status < 0 or self.status > 128",
        "self.status != 0",
    ),
    Mutant(
        "a run is trained beside a lost process",
        "backends/run_process.py",
        "                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
    ),
    Mutant(
        "the process of a run outlives the one that waits for it",
        "backends/run_process.py",
        "prctl({LOST_PARENT}, signal.SIGTERM)",
        "prctl({LOST_PARENT}, 0)",
    ),
    Mutant(
        "a run whose job is queued gets a second one",
        "backends/slurm.py",
        "        if _state(job) in ALIVE:\n            return job\n",
        "",
    ),
    Mutant(
        "a run does not stop before the time of its job is over",
        "backends/slurm.py",
        "        self._process.stop()\n",
        "",
    ),
    Mutant(
        "shared policy with its target networks",
        "sharing/shared_policy.py",
        "            own[name] = followed",
        "            own[name] = own[name]",
    ),
    Mutant(
        "shared weights beyond 16 bits are infinite",
        "sharing/shared_policy.py",
        " and tensor.abs().max() < torch.finfo(torch.float16).max",
        "",
    ),
    Mutant(
        "share overwrites a run",
        "sharing/shared_policy.py",
        '(folder / "config.yaml").exists() and not',
        '(folder / "config.yaml").exists() and',
    ),
    Mutant(
        "results of a shared policy without exploration in the sampled ones",
        "sharing/shared_policy.py",
        "policy(obs, deterministic))",
        "policy(obs, True))",
    ),
    Mutant(
        "SIGTERM exits as Ctrl-C",
        "cli/command.py",
        "143 if isinstance(stop, Terminated) else 130",
        "130",
    ),
]


SAC = [
    "tests/algorithms/test_losses.py",
    "tests/algorithms/test_what_enters_the_backup.py",
    "tests/algorithms/test_batch_statistics.py",
]
FINITE = ["tests/algorithms/test_finite_losses.py", *SAC[1:]]
ON_POLICY = ["tests/algorithms/test_on_policy.py"]
EXACT_RESUME = "tests/cli/test_exact_resume.py::test_a_run_that_was_stopped_between_two_rows_writes_the_same_rows_and_weights[copies]"
RANKS = ["tests/distributed/test_training.py", "tests/distributed/test_stopping.py"]
BACKENDS = "tests/comparison/test_backends.py"
TESTS = {
    "deployment/exported_policy.py": [
        "tests/deployment/test_exported_policy.py::test_few_finite_actions_may_differ_because_of_ties",
        "tests/deployment/test_exported_policy.py::test_a_file_with_other_actions_than_the_policy_is_refused_and_the_old_file_stays",
        "tests/deployment/test_exported_policy.py::test_the_metadata_say_what_the_file_is_and_what_it_takes",
    ],
    "algorithms/a2c.py": ON_POLICY,
    "algorithms/action_value.py": [
        "tests/algorithms/test_base.py",
        *SAC,
        "tests/algorithms/test_policy_delay.py",
        "tests/algorithms/test_distributional_losses.py",
    ],
    "algorithms/base.py": [
        EXACT_RESUME,
        "tests/algorithms/test_base.py",
        "tests/algorithms/test_batch_statistics.py",
        "tests/algorithms/test_losses.py",
    ],
    "algorithms/checks.py": ["tests/algorithms/test_base.py", "tests/algorithms/test_on_policy.py"],
    "algorithms/continuous_soft_q_learning.py": ["tests/algorithms/test_continuous_soft_q_learning.py"],
    "algorithms/deterministic.py": ["tests/algorithms/test_ddpg.py"],
    "algorithms/discrete_sac.py": FINITE,
    "algorithms/discrete_value_sac.py": FINITE,
    "algorithms/dqn.py": FINITE,
    "algorithms/feeding.py": ON_POLICY,
    "algorithms/finite.py": FINITE,
    "distributed.py": RANKS,
    "strategy.py": RANKS,
    "algorithms/gradient_step.py": [
        "tests/algorithms/test_gradient_step.py",
        "tests/algorithms/test_base.py",
        "tests/algorithms/test_losses.py",
    ],
    "algorithms/ppo.py": ON_POLICY,
    "algorithms/q_learning.py": FINITE,
    "algorithms/reinforce.py": ON_POLICY,
    "algorithms/reppo.py": ["tests/algorithms/test_reppo.py", "tests/algorithms/test_what_enters_the_backup.py"],
    "algorithms/sac.py": SAC,
    "algorithms/td3.py": ["tests/algorithms/test_ddpg.py"],
    "algorithms/value_sac.py": SAC,
    "backends/pool.py": [
        f"{BACKENDS}::test_a_run_that_was_killed_goes_on_from_its_checkpoint_with_the_same_results",
        "tests/sweep/test_trials.py::test_a_trial_that_is_behind_is_pruned_and_its_run_stopped",
    ],
    "backends/run_process.py": [
        f"{BACKENDS}::test_a_run_that_ends_with_an_error_is_not_retried",
        f"{BACKENDS}::test_a_run_waits_until_a_process_that_was_believed_lost_has_ended",
        f"{BACKENDS}::test_the_process_of_a_run_holds_its_lock_and_ends_with_the_process_that_waits_for_it",
    ],
    "backends/slurm.py": [
        f"{BACKENDS}::test_jobs_go_on_after_ctrl_c_and_the_same_command_waits_for_them",
        f"{BACKENDS}::test_a_job_that_is_requeued_or_lost_goes_on_from_its_checkpoint[announce_end]",
    ],
    "callbacks/checkpoint.py": [
        "tests/callbacks/test_checkpoint.py",
        "tests/callbacks/test_averaging.py",
        "tests/cli/test_cli.py::test_all_metrics_up_to_a_checkpoint_are_in_the_csv_before_it_is_saved",
    ],
    "callbacks/random_states.py": ["tests/callbacks/test_checkpoint.py"],
    "buffer_files.py": ["tests/callbacks/test_checkpoint.py"],
    "checkpoint_files.py": [
        "tests/callbacks/test_checkpoint.py",
        "tests/test_free_space.py",
        "tests/loggers/test_wandb_artifacts.py",
    ],
    "comparison/results.py": [
        "tests/comparison/test_statistics.py",
        "tests/comparison/test_page.py",
        "tests/comparison/test_reference.py",
    ],
    "sweep/results.py": ["tests/sweep/test_sweep_page.py", "tests/sweep/test_sweep_specification.py"],
    "sweep/study.py": [
        "tests/sweep/test_command.py::test_a_sweep_that_was_killed_goes_on_and_asks_for_the_same_trials_as_one_that_was_not",
        "tests/sweep/test_command.py::test_only_trials_of_the_own_folder_are_resumed",
        "tests/sweep/test_trials.py::test_the_value_of_a_trial_is_the_interquartile_mean_of_its_seeds_at_the_end",
    ],
    "critics/base.py": ["tests/critics/test_contract.py", "tests/critics/test_critics.py"],
    "critics/building.py": ["tests/critics/test_contract.py", "tests/critics/test_critics.py"],
    "critics/categorical.py": ["tests/critics/test_distributions.py", "tests/algorithms/test_distributional_losses.py"],
    "critics/ensemble.py": ["tests/critics/test_critics.py", "tests/algorithms/test_what_enters_the_backup.py"],
    "critics/quantile.py": ["tests/critics/test_distributions.py"],
    "critics/twin.py": ["tests/critics/test_critics.py"],
    "critics/twin_heads.py": ["tests/critics/test_twin_heads.py", "tests/critics/test_critics.py"],
    "data/env_ids.py": ["tests/data/test_spaces.py"],
    "data/data_module.py": [
        "tests/data/test_replay.py",
        "tests/data/test_env_copies.py",
        "tests/data/test_scaling.py",
        "tests/data/test_rollout.py",
        "tests/data/test_wrapping.py",
        "tests/data/test_env_states.py::test_in_the_middle_of_a_round_the_environments_are_not_saved",
        EXACT_RESUME,
    ],
    "data/spaces.py": ["tests/data/test_spaces.py", "tests/data/test_wrapping.py"],
    "cli/command.py": ["tests/cli/test_play_and_record.py"],
    "data/storage_space.py": ["tests/data/test_replay.py"],
    "data/vectorization.py": ["tests/data/test_vectorization.py", "tests/data/test_env_copies.py"],
    "data/worker_processes.py": [
        "tests/data/test_worker_processes.py",
        "tests/data/test_vectorization.py",
        "tests/data/test_env_runner.py",
    ],
    "entropy_objectives.py": ON_POLICY,
    "exact/multi_goal.py": ["tests/exact/test_multi_goal.py"],
    "exploration.py": ["tests/test_exploration.py", "tests/algorithms/test_finite_losses.py"],
    "contracts.py": ["tests/critics/test_contract.py", "tests/verification/test_verify.py"],
    "loggers/media.py": ["tests/loggers/test_several_loggers.py"],
    "loggers/wandb.py": ["tests/loggers/test_wandb.py"],
    "loggers/wandb_artifacts.py": ["tests/loggers/test_wandb_artifacts.py"],
    "metrics/metrics_csv.py": ["tests/loggers/test_tidy_csv.py"],
    "metrics/monitors.py": ["tests/metrics/test_monitors.py", "tests/callbacks/test_checkpoint.py"],
    "trained_policy.py": ["tests/test_trained_policy.py", "tests/videos/test_episodes.py"],
    "videos/episodes.py": ["tests/videos/test_episodes.py"],
    "videos/episode_videos.py": ["tests/videos/test_videos_in_training.py"],
    "videos/video_file.py": ["tests/videos/test_episodes.py"],
    "networks/batch_renorm.py": ["tests/networks/test_layers.py", "tests/networks/test_networks.py"],
    "networks/layers.py": [
        "tests/networks/test_layers.py",
        "tests/critics/test_critics.py",
        "tests/networks/test_networks.py",
    ],
    "networks/mlp.py": ["tests/networks/test_networks.py"],
    "networks/residual.py": ["tests/networks/test_networks.py"],
    "noise.py": ["tests/test_noise.py", "tests/algorithms/test_ddpg.py"],
    "objectives.py": [
        "tests/test_objectives.py",
        "tests/test_objectives_of_distributions.py",
        "tests/test_objectives_on_policy.py",
        "tests/test_particles.py",
        "tests/test_policy_updates.py",
    ],
    "particles.py": ["tests/test_particles.py", "tests/algorithms/test_continuous_soft_q_learning.py"],
    "policies/base.py": [
        "tests/policies/test_policies.py",
        "tests/policies/test_categorical.py",
        "tests/policies/test_explicit.py",
    ],
    "policies/building.py": [
        "tests/policies/test_policies.py",
        "tests/policies/test_categorical.py",
        "tests/policies/test_explicit.py",
    ],
    "policies/gaussian.py": ["tests/policies/test_explicit.py"],
    "policies/mixture.py": ["tests/policies/test_policies.py"],
    "policies/squashed_gaussian.py": ["tests/policies/test_policies.py", "tests/algorithms/test_reppo.py"],
    "optimizers.py": [
        "tests/test_optimizers.py",
        "tests/algorithms/test_base.py",
        "tests/cli/test_cli.py::test_a_refused_resume_does_not_change_the_run",
    ],
    "policies/stein_sampler.py": [
        "tests/policies/test_policies.py",
        "tests/algorithms/test_continuous_soft_q_learning.py",
    ],
    "targets.py": [
        "tests/test_targets.py",
        "tests/algorithms/test_what_enters_the_backup.py",
        "tests/algorithms/test_batch_statistics.py",
    ],
    "verification/contract.py": ["tests/verification/test_verify.py"],
    "verification/training.py": ["tests/verification/test_verify.py"],
}
"""Tests that stand for a file, where it is not the one that mirrors it."""


def tests_of(file: str) -> list[str]:
    """The tests that must turn red where a file is broken, in the order in which they are run."""
    path = Path("tests") / file
    mirror = str(path.with_name(f"test_{path.name}"))
    return TESTS.get(file, [mirror])


class Verdicts:
    """A plugin of pytest that keeps the first test that failed, and whatever kept tests from being run."""

    def __init__(self):
        self.failed, self.broke = None, None

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.broke = str(report.longrepr)


def run_tests(folder: Path, tests: list[str], answer: Path) -> None:
    """In a process of its own, which ends here."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    import pytest

    verdicts = Verdicts()
    args = [
        "-x",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    code = pytest.main([*args, *tests], [verdicts])
    if verdicts.broke or code not in (0, 1):  # no verdict: the run itself broke
        answer.write_text(f"BROKE {code} {verdicts.broke}")
    else:
        answer.write_text(verdicts.failed or "")
    os._exit(0)


def killer(mutant: Mutant | None, folder: Path, tests: list[str]) -> str | None:
    """The first test that turns red on a broken copy of the package; None if all stay green."""
    answer = folder / "answer"
    answer.unlink(missing_ok=True)
    with broken(mutant, folder):
        if not (child := os.fork()):
            try:
                run_tests(folder, tests, answer)
            except BaseException:
                answer.write_text(f"BROKE {traceback.format_exc()}")
            finally:
                os._exit(1)
        deadline = time.monotonic() + SECONDS
        while not os.waitpid(child, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "it hangs"
            time.sleep(0.02)
    if not answer.exists() or (text := answer.read_text()).startswith("BROKE"):
        raise SystemExit(f"{mutant and mutant.name}: {tests} gave no verdict: {answer.exists() and text}")
    return text or None


@contextlib.contextmanager
def broken(mutant: Mutant | None, folder: Path):
    """The copy in a folder is broken in one place for a while."""
    if mutant is None:
        yield
        return
    path = folder / "lightning_maxent" / mutant.file
    source, times = path.read_text(), path.stat().st_mtime
    if source.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: {mutant.old!r} occurs {source.count(mutant.old)} times in {mutant.file}.")
    path.write_text(source.replace(mutant.old, mutant.new))
    os.utime(path, (times, times + 1 + MUTANTS.index(mutant)))  # no compiled file is taken for it
    try:
        yield
    finally:
        path.write_text(source)
        os.utime(path, (times, times))


def survivors(mutants: list[Mutant]) -> int:
    """How many of the mutants live on; tells of each."""
    count = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("lightning_maxent", "tests", "configs", "zoo"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for mutant in mutants:
            began = time.monotonic()
            test = killer(mutant, folder, tests_of(mutant.file))
            count += test is None
            verdict = "SURVIVED" if test is None else "killed  "
            line = f"{verdict}  {mutant.name}  [{test or mutant.file}]  {time.monotonic() - began:.1f} s"
            print(line, flush=True)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="mutants with one of these words in their name; all, if none is given")
    parser.add_argument("--part", type=int, default=0, help="which part of the mutants, counted modulo --of")
    parser.add_argument("--of", type=int, default=1, help="into how many parts they are divided")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many processes share the work")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not given.words or any(word in mutant.name for word in given.words)]
    chosen = chosen[given.part % given.of :: given.of]
    print(f"{len(chosen)} of {len(MUTANTS)} mutants: part {given.part % given.of} of {given.of}.", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in BEFORE:
        importlib.import_module(module)
    assert "lightning_maxent" not in sys.modules
    workers = []
    for job in range(given.jobs):
        if not (worker := os.fork()):
            code = 2
            try:
                code = int(survivors(chosen[job :: given.jobs]) > 0)
            except SystemExit as stop:
                print(stop, file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        workers.append(worker)
    codes = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    print("Every mutant was killed." if not any(codes) else "NOT EVERY MUTANT WAS KILLED.")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
