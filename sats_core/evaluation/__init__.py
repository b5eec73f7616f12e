"""How good a version is: IoU per class, mIoU old / new / all, forgetting."""
