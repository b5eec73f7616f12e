"""Why a large upload cannot be used, or sent. Web-free."""

from app.errors import ConflictProblem, InvalidProblem


class UploadUnfinishedProblem(ConflictProblem):
    """Parts of the upload are missing, or were not put together yet."""

    slug = "upload-unfinished"
    title = "The upload is not finished"


class UploadClosedProblem(ConflictProblem):
    """No part is taken any more: they are being put together, or were."""

    slug = "upload-closed"
    title = "The upload takes no more parts"


class UploadDamagedProblem(InvalidProblem):
    """What came in parts is not what was announced: it is to be sent again from the start."""

    slug = "upload-damaged"
    title = "The upload is not what was announced"
