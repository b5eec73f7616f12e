"""The demo: draws labelled pictures, runs the main job over HTTP and shows what came out.

It starts the service as a process of its own and speaks to it as any other program does. Of the
project's code it uses `sats_core.classes` alone, for the palette of its masks.
"""
