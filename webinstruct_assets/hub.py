"""Sending a release to a hub: the files of ``webinstruct_release``, as one commit to a dataset repository.

Credentials and the hub's address come from the environment only (``HF_TOKEN``, ``HF_ENDPOINT``), as the hub's own client
reads them. Nothing is sent that was taken down: a release that still holds such rows is refused.
"""

from pathlib import Path

from webinstruct_assets.core.errors import BadInput, MissingInput, WebInstructError
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import States
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE


def release_folder(ws: Workspace, snapshot: str) -> tuple[Path, list[str]]:
    """Folder and file names of a snapshot's release. Raises MissingInput, and BadInput for one that is not up to date."""
    ref = WEBINSTRUCT_RELEASE.ref(PartitionKey.of({"snapshot": snapshot}))
    manifest = ws.lake.require(ref, "webinstruct push")
    state = States(ws).of(ref)
    if not state.up_to_date:
        raise BadInput(
            f"{ref} is not up to date: {state.reason}",
            f"webinstruct run --snapshot {snapshot} --to webinstruct_release, then push",
        )
    ws.lake.file_paths(manifest)
    return ws.lake.data_folder(manifest), [part.file for part in manifest.files]


def push(ws: Workspace, snapshot: str, repo: str, *, private: bool) -> str:
    """Makes or updates the dataset repository ``repo`` (ORG/NAME); returns the commit's URL.

    Raises MissingInput without credentials, WebInstructError with the hub's own words where it refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    folder, files = release_folder(ws, snapshot)
    if get_token() is None:
        raise MissingInput("no credentials for the hub", "set HF_TOKEN to a token that may write")
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=files,
            commit_message=f"WebInstruct {snapshot}",
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WebInstructError(
            f"the hub refused {repo}: {error}", "check the name, the token and HF_ENDPOINT"
        ) from error
    return str(commit.commit_url)
