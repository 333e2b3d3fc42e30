"""Copies of an environment in worker processes."""

import atexit
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import (
    CloudpickleWrapper,
    batch_space,
    create_shared_memory,
    iterate,
    read_from_shared_memory,
    write_to_shared_memory,
)
from pytorch_lightning.utilities.exceptions import SIGTERMException

from lightning_maxent.data.vectorization import EnvMaker, check_same_spaces
from lightning_maxent.errors import FOREIGN, ForeignError, MaxEntError, described

SECONDS_TO_CLOSE = 30  # for all copies together; a copy that takes longer is killed
SECONDS_AFTER_INTERRUPT = 3  # the same after Ctrl-C, SIGTERM or the death of the run


class WorkerProcesses(VectorEnv):
    """Every copy runs in a worker process; observations come back through shared memory.

    Workers pay where a step takes many milliseconds, and where cores are free or the step waits for another program.
    They do not pay for MuJoCo's small robots: asking a worker costs more than their step.  Environment steps per second
    with random actions, the median of three runs, on a machine with two cores that other runs kept busy:

    ========================================  ======  ===========  =======
    environment                               copies  one process  workers
    ========================================  ======  ===========  =======
    HalfCheetah-v5                                 1        2,690    1,100
    HalfCheetah-v5                                 2        2,355      749
    HalfCheetah-v5                                 8        3,157      626
    Pendulum-v1 that sleeps 10 ms in a step        1           80       64
    Pendulum-v1 that sleeps 10 ms in a step        8           82      275
    ========================================  ======  ===========  =======

    A copy that raises an error or whose process dies ends the run in one sentence that names the copy.  The workers
    leave Ctrl-C and SIGTERM to the run, and end with it, however it ends.  (If a worker of Gymnasium's
    ``AsyncVectorEnv`` dies, the error does not name it, and ``close`` waits forever.)  Environments that draw from the
    global random numbers of Python, NumPy or PyTorch get other ones in every copy.

    Args:
        env_fns: functions that make one copy each.  The first is also called once in the process of the run, to learn
            the spaces; that copy is closed at once.
        context: how the processes start.  ``fork``, the default on Linux, is the fastest.  ``spawn``, the default
            elsewhere, and ``forkserver`` suit environments that use a GPU or the threads of PyTorch; a script of your
            own then needs ``if __name__ == "__main__":``.

    Raises:
        MaxEntError: if a copy cannot be made, its process dies, or the copies have different spaces.
    """

    def __init__(self, env_fns: Sequence[EnvMaker], context: Literal["fork", "spawn", "forkserver"] | None = None):
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._kill = partial(_kill, self._processes)
        self._sigterm: float | None = None  # the time of the first SIGTERM while copies were asked
        self._interrupted = False
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = len(env_fns)
        env = env_fns[0]()
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        env.close()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        # Named, since TorchRL changes the default of multiprocessing.
        chosen: Any = multiprocessing.get_context(context or ("fork" if sys.platform == "linux" else "spawn"))
        memory = create_shared_memory(self.single_observation_space, self.num_envs, chosen)
        self._observations: Any = read_from_shared_memory(self.single_observation_space, memory, self.num_envs)
        # Registered after the exit function of multiprocessing and so called before it, which would wait for workers.
        atexit.register(self._kill)
        try:
            for copy, make in enumerate(env_fns):
                pipe, workers_end = chosen.Pipe()
                arguments = (copy, CloudpickleWrapper(make), workers_end, pipe, memory)
                process = chosen.Process(target=_work, args=arguments, name=f"copy {copy}", daemon=True)
                process.start()
                workers_end.close()
                self._pipes.append(pipe)
                self._processes.append(process)
            check_same_spaces(self._ask("make", [None] * self.num_envs))
        except BaseException:
            with suppress(MaxEntError):
                self.close()
            raise

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode in every copy.

        Args:
            seed: the seed of the first copy, of which the others get the next ones; or one for each copy.
            options: options for the environment's reset.

        Raises:
            MaxEntError: if a copy raises an error, or its process dies.
        """
        first = seed if isinstance(seed, int) else None
        seeds = [None if first is None else first + copy for copy in range(self.num_envs)]
        if isinstance(seed, Sequence):
            seeds = list(seed)
        self._ask("reset", [(each, options) for each in seeds])
        return self._observations.copy(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every copy; a copy whose episode ends starts the next one.

        Raises:
            MaxEntError: if a copy raises an error, or its process dies.
        """
        answers = self._ask("step", iterate(self.action_space, actions))
        rewards, terminated, truncated, last = zip(*answers)
        final_obs = np.full(self.num_envs, None, dtype=object)
        for copy, obs in enumerate(last):
            final_obs[copy] = obs
        infos = {"final_obs": final_obs} if any(obs is not None for obs in last) else {}
        ends = np.array(terminated, bool), np.array(truncated, bool)
        return self._observations.copy(), np.array(rewards, np.float64), *ends, infos

    def call(self, name: str, *args: Any) -> tuple[Any, ...]:
        """The results of a method of every copy, as in Gymnasium's vector environments.

        Raises:
            MaxEntError: if a copy raises an error, or its process dies.
        """
        return tuple(self._ask("call", [(name, args)] * self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Close all copies and end their processes.

        Raises:
            MaxEntError: the first error that closing a copy raised.
        """
        deadline = time.monotonic() + (SECONDS_AFTER_INTERRUPT if self._interrupted else SECONDS_TO_CLOSE)
        failures = []
        for pipe in self._pipes:
            with suppress(OSError):  # the worker has died
                pipe.send(("close", None))
        for pipe in self._pipes:
            with suppress(Exception):  # the worker has died, or Ctrl-C cut an answer in two
                while pipe.poll(max(0.0, deadline - time.monotonic())):
                    command, failure, _ = pipe.recv()  # of an earlier command, if an error kept us from reading it
                    if command == "close" and failure:
                        failures.append(failure)
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self._kill()
        atexit.unregister(self._kill)
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()
        self._processes.clear()
        if failures:
            raise failures[0].error()

    def _ask(self, command: str, arguments: Iterable[Any]) -> list[Any]:
        """Send a command to every worker, and return their answers in the order of the copies."""
        try:
            with _calling_at_sigterm(self._note_sigterm):
                for copy, (pipe, argument) in enumerate(zip(self._pipes, arguments)):
                    try:
                        pipe.send((command, argument))
                    except OSError as error:
                        raise self._died(copy) from error
                return [self._answer(copy) for copy in range(self.num_envs)]
        except (KeyboardInterrupt, SIGTERMException):
            self._interrupted = True
            raise

    def _note_sigterm(self) -> None:
        if self._sigterm is None:
            self._sigterm = time.monotonic()

    def _answer(self, copy: int) -> Any:
        """The answer of a worker.

        Raises:
            MaxEntError: if a copy raised an error, or its process died.
            SIGTERMException: if the worker does not answer within some seconds after a SIGTERM.
        """
        try:
            while not self._pipes[copy].poll(1.0):
                if self._sigterm is not None and time.monotonic() > self._sigterm + SECONDS_AFTER_INTERRUPT:
                    print(f"Copy {copy} does not answer, so its process is killed.", file=sys.stderr)
                    raise SIGTERMException
            _, failure, answer = self._pipes[copy].recv()
        except (EOFError, OSError) as error:
            raise self._died(copy) from error
        if failure:
            raise failure.error()
        return answer

    def _died(self, copy: int) -> MaxEntError:
        process = self._processes[copy]
        process.join(SECONDS_TO_CLOSE)
        status = process.exitcode or 0
        how = f"killed by signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"exit status {status}"
        return MaxEntError(
            f"the worker process of copy {copy} died ({how}): see above for what it printed; if memory ran out, use "
            f"fewer copies (data.num_envs, data.eval_envs); then resume from the last checkpoint."
        )


class _Failure(NamedTuple):
    """An error in a worker, as text: errors lose their traceback on the way, and some cannot be sent at all."""

    text: str
    is_foreign: bool
    trace: str

    @classmethod
    def of(cls, copy: int, error: BaseException) -> "_Failure":
        told = error if isinstance(error, MaxEntError) else ForeignError(f"copy {copy} raised {described(error)}.")
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return cls(str(told), isinstance(told, ForeignError), trace)

    def error(self) -> MaxEntError:
        error = (ForeignError if self.is_foreign else MaxEntError)(self.text)
        error.__cause__ = RuntimeError(f"In the worker process:\n{self.trace}")
        return error


def _kill(processes: Sequence[BaseProcess]) -> None:
    """End processes that have not ended; SIGTERM would not do, because workers ignore it."""
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()


@contextmanager
def _calling_at_sigterm(note: Callable[[], None]) -> Iterator[None]:
    """Call a function at a SIGTERM, before the handler that is set; if none is set, SIGTERM ends the process."""
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        note()
        handler(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _end_with_run() -> None:
    """End this worker after the run has ended, even if its copy is stuck in a step and reads no more commands."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        time.sleep(SECONDS_AFTER_INTERRUPT)  # a copy that is not stuck is closed in this time
        os._exit(1)


def _work(copy: int, make: EnvMaker, pipe: Connection, runs_end: Connection, memory: Any) -> None:
    """Make a copy, and obey the commands of the run until it closes the copy or ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the run gets them too, and finishes its round before it stops
    runs_end.close()
    threading.Thread(target=_end_with_run, daemon=True).start()
    env: gym.Env | None = None
    command = ""
    while command != "close":
        try:
            command, argument = pipe.recv()
        except (EOFError, OSError):  # the run has ended
            command, argument = "close", None
        failure = answer = None
        try:
            if command == "make":
                env = make()
                answer = env.observation_space, env.action_space
            elif env is not None:
                answer = _obey(env, copy, command, argument, memory)
        except FOREIGN as error:
            failure = _Failure.of(copy, error)
        with suppress(OSError):  # the run has ended, which the next command shows
            pipe.send((command, failure, answer))


def _obey(env: gym.Env, copy: int, command: str, argument: Any, memory: Any) -> Any:
    if command == "close":
        env.close()
        return None
    if command == "call":
        name, arguments = argument
        return env.get_wrapper_attr(name)(*arguments)
    answer = None
    if command == "reset":
        seed, options = argument
        _seed_global_generators(seed)
        obs, _ = env.reset(seed=seed, options=options)
    else:
        obs, reward, terminated, truncated, _ = env.step(argument)
        last = None
        if terminated or truncated:
            last = obs
            obs, _ = env.reset()
        answer = reward, terminated, truncated, last
    write_to_shared_memory(env.observation_space, copy, obs, memory)
    return answer


def _seed_global_generators(seed: int | None) -> None:
    """Seed the generators that every worker has inherited in the same state from the process of the run."""
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  the generator of environments that do not use their own
        torch.manual_seed(seed)
