"""The demo: draws labelled pictures, runs the main job over HTTP and shows what came out."""
