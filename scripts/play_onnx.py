"""Play an exported policy with onnxruntime, numpy and gymnasium alone: copy this file to where the policy is deployed.

    lightning-maxent export --ckpt_path last --out policy.onnx
    python scripts/play_onnx.py policy.onnx --episodes 10

Prints the return of each episode and their mean.  A policy that was exported with ``--sample`` gets its noise from numpy.
"""

import argparse
import json

import gymnasium as gym
import numpy as np
import onnxruntime


class OnnxPolicy:
    """The actions of an exported policy for single observations of its environment."""

    def __init__(self, path: str, seed: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the networks are small: threads would wait for each other
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        self.noise = json.loads(self.metadata["noise"])
        self.random = np.random.default_rng(seed)

    def __call__(self, space: gym.Space, obs):
        inputs = {"obs": np.asarray(gym.spaces.flatten(space, obs), np.float32)[None]}
        if self.noise:
            drawn = [getattr(self.random, name)((1, size), np.float32) for name, size in self.noise]
            inputs["noise"] = np.concatenate(drawn, 1)
        return np.asarray(self.session.run(["action"], inputs)[0])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", help="the exported file")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first episode; the next one has the next seed")
    args = parser.parse_args()
    policy = OnnxPolicy(args.policy, args.seed)
    env = gym.make(policy.metadata["env_id"], **json.loads(policy.metadata["env_kwargs"]))
    space = env.observation_space
    if str(space) != policy.metadata["observation_space"]:
        parser.error(
            f"the policy takes observations of {policy.metadata['observation_space']}, but those of the environment are "
            f"of {space}: wrap it as in training ({policy.metadata['wrappers']})."
        )
    if wrappers := json.loads(policy.metadata["wrappers"]):
        print(
            f"Returns are wrong if the policy needs the wrappers of its training, {', '.join(wrappers)}: add them here."
        )
    returns = []
    for seed in range(args.seed, args.seed + args.episodes):
        obs, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy(space, obs))
            total, over = total + float(reward), terminated or truncated
        print(f"seed {seed}: return {total:.6g}")
        returns.append(total)
    print(f"mean return of {len(returns)} episodes: {np.mean(returns):.6g}")


if __name__ == "__main__":
    main()
