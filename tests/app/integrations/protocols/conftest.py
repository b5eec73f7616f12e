from tests.app.segmentation.conftest import register

__all__ = ["register"]
