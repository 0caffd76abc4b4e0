"""What the API does: one function per operation, one file per resource.

:data:`OPERATIONS` is the API. An operation reads or writes rows in one transaction and wakes the
supervisor; it never touches a driver, and nothing here knows HTTP.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sparkowl.operations import (
    calculations,
    executors,
    notebooks,
    presigned,
    sessions,
    starting,
    tags,
    workgroups,
)
from sparkowl.operations.context import Context

Operation = Callable[[Context, Mapping[str, Any]], Awaitable[dict[str, Any]]]

OPERATIONS: Final[Mapping[str, Operation]] = {
    "StartSession": starting.start_session,
    "GetSession": sessions.get_session,
    "GetSessionStatus": sessions.get_session_status,
    "ListSessions": sessions.list_sessions,
    "TerminateSession": sessions.terminate_session,
    "ListExecutors": executors.list_executors,
    "StartCalculationExecution": calculations.start_calculation_execution,
    "GetCalculationExecution": calculations.get_calculation_execution,
    "GetCalculationExecutionStatus": calculations.get_calculation_execution_status,
    "GetCalculationExecutionCode": calculations.get_calculation_execution_code,
    "ListCalculationExecutions": calculations.list_calculation_executions,
    "StopCalculationExecution": calculations.stop_calculation_execution,
    "CreateNotebook": notebooks.create_notebook,
    "ImportNotebook": notebooks.import_notebook,
    "ExportNotebook": notebooks.export_notebook,
    "GetNotebookMetadata": notebooks.get_notebook_metadata,
    "ListNotebookMetadata": notebooks.list_notebook_metadata,
    "UpdateNotebook": notebooks.update_notebook,
    "UpdateNotebookMetadata": notebooks.update_notebook_metadata,
    "DeleteNotebook": notebooks.delete_notebook,
    "ListNotebookSessions": notebooks.list_notebook_sessions,
    "CreatePresignedNotebookUrl": presigned.create_presigned_notebook_url,
    "CreateWorkGroup": workgroups.create_work_group,
    "UpdateWorkGroup": workgroups.update_work_group,
    "DeleteWorkGroup": workgroups.delete_work_group,
    "GetWorkGroup": workgroups.get_work_group,
    "ListWorkGroups": workgroups.list_work_groups,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags_for_resource,
    "ListEngineVersions": workgroups.list_engine_versions,
    "ListApplicationDPUSizes": workgroups.list_application_dpu_sizes,
}

__all__ = ["OPERATIONS", "Context", "Operation"]
