"""Where a data set's files lie: a zip or a directory behind one interface.

Nothing is ever unpacked to disk: a member is read into memory when it is asked for, under a limit.
"""

from sats_core.data.sources.base import MOST_ISSUES, Source
from sats_core.data.sources.directory import DirectorySource
from sats_core.data.sources.zipped import Archive, Opener, ZipSource

__all__ = ["MOST_ISSUES", "Archive", "DirectorySource", "Opener", "Source", "ZipSource"]
