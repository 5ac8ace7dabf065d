"""Plan before pay: what a job needs and costs, by arithmetic from config.json, the job file, the data and the hardware.

Pure: dataclasses in, dataclasses out; no tensor library, no network.
"""
