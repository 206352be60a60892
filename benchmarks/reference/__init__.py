"""Simpler designs to measure against, each a complete program on the topic that the worker reads too.

plain_aiokafka   the same kernels on a plain consumer: what the worker's guarantees cost
stock_agent      the same kernels in a stock Faust agent: what the worker's transport gains
json_river       the hand-written design: a JSON message per layer, river objects per series

Each reads `--values` values, then writes how many it judged in how many CPU-seconds of its own, its first fifth left
out. They are kept as they are, so that figures of different versions have the same yardstick.
"""
