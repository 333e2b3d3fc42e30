"""The Hugging Face hub, which keeps shared policies; everything here needs the package huggingface_hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_maxent.errors import MaxEntError

PREFIX = "hub:"
NO_LOGIN = "There is no login to the Hugging Face hub: run hf auth login, or set HF_TOKEN to a token that may write."
NO_NAME = "{!r} is not a repository of the hub: give USER/NAME."
FILES = ["README.md", "config.yaml", "checkpoints/best.ckpt"]


def download(repository: str) -> Path:
    """The folder with the files of a repository, which the hub's own cache keeps.

    Args:
        repository: ``USER/NAME``, or ``USER/NAME@REVISION`` for a branch, a tag or a commit.

    Raises:
        MaxEntError: if the package is missing, there is no such repository, or the hub cannot be reached.
    """
    name, _, revision = repository.partition("@")
    with _hub_errors(name) as hub:
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=FILES))


def upload(folder: Path, repository: str) -> str:
    """Upload the folder of a shared policy, and return the URL of its page.

    The repository is made if there is none; an existing one gets a commit.

    Raises:
        MaxEntError: if the package or the login is missing, or the hub refuses the upload or cannot be reached.
    """
    with _hub_errors(repository) as hub:
        hub.create_repo(repository, exist_ok=True)
        return str(
            hub.upload_folder(
                repo_id=repository,
                folder_path=folder,
                allow_patterns=FILES,
                commit_message="Policy of lightning-maxent",
            ).repo_url
        )


def check_hub(repository: str) -> None:
    """Raise ``MaxEntError`` unless the package and a login are there and the name is one that the hub accepts."""
    with _hub_errors(repository) as hub:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(repository)
        if "/" not in repository:
            raise MaxEntError(NO_NAME.format(repository))
        if hub.get_token() is None:
            raise MaxEntError(NO_LOGIN)


@contextmanager
def _hub_errors(repository: str) -> Iterator[Any]:
    """The package huggingface_hub; its errors become one sentence."""
    try:
        import huggingface_hub
        from huggingface_hub import errors as of_hub
    except ImportError as error:
        raise MaxEntError(
            "Policies of the Hugging Face hub need a package: pip install huggingface_hub, or the extra hub."
        ) from error
    errors: Any = of_hub
    try:
        yield huggingface_hub
    except errors.HFValidationError as error:
        raise MaxEntError(NO_NAME.format(repository)) from error
    except errors.RevisionNotFoundError as error:
        raise MaxEntError(f"The repository {repository} of the hub has no such branch, tag or commit.") from error
    except errors.RepositoryNotFoundError as error:  # the hub also says so of a private one
        raise MaxEntError(
            f"There is no repository {repository} on the hub, or it is private: check its name; for a private one, run "
            f"hf auth login."
        ) from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise MaxEntError(NO_LOGIN) from error
        said = str(error).strip().partition("\n")[0]
        raise MaxEntError(f"The hub refused {repository}: {said}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HTTPError) as error:
        raise MaxEntError(
            f"The Hugging Face hub cannot be reached for {repository}: check the network, and try again."
        ) from error
