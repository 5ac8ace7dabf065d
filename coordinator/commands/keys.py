"""API keys: recording one by its hash, and telling whose key it is."""

from coordinator.store.engine import Database, now
from coordinator.store.queries import find_api_key
from coordinator.store.tables import ApiKeyRow, ProjectRow
from luthier.errors import AlreadyExistsError, NotFoundError, UnauthenticatedError
from luthier.ids import new_id
from luthier.v1.access_service_pb2 import Principal


async def create_api_key(
    database: Database, project_id: str, display_name: str, key_sha256: bytes, permissions: list[str]
) -> str:
    """Records a key and returns its id; the same key with the same rights again is a no-op.

    Raises:
        NotFoundError: there is no such project.
        AlreadyExistsError: the key is on record with other rights.
    """
    async with database.transaction() as session:
        # The lock makes two callers with one key take turns.
        if await session.get(ProjectRow, project_id, with_for_update=True) is None:
            raise NotFoundError(f"there is no project {project_id}")
        row = await find_api_key(session, key_sha256)
        if row is None:
            row = ApiKeyRow(
                key_id=new_id("key"),
                project_id=project_id,
                display_name=display_name,
                key_sha256=key_sha256,
                permissions=permissions,
                create_time=await now(session),
            )
            session.add(row)
        elif (row.project_id, row.permissions) != (project_id, permissions):
            raise AlreadyExistsError("this key is on record with other rights; make a new one")
        return row.key_id


async def authenticate(database: Database, key_sha256: bytes) -> Principal:
    """Whose key it is.

    Raises:
        UnauthenticatedError: nobody's; the message says nothing.
    """
    async with database.transaction() as session:
        row = await find_api_key(session, key_sha256)
    if row is None:
        raise UnauthenticatedError
    return Principal(key_id=row.key_id, project_id=row.project_id, permissions=row.permissions)
