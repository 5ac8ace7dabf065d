import logging
import os
import threading

from luthier.v1.stage_pb2 import MetricPoint, Progress
from workers.contract import LogLine, Retirement, decode
from workers.report import PipeReport, ReportHandler


def read_all(descriptor: int) -> list:
    with os.fdopen(descriptor, "rb") as pipe:
        return [decode(line) for line in pipe]


def test_a_full_pipe_does_not_stop_the_stage_and_nothing_is_lost():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    for step in range(20_000):
        report.progress(step, 20_000, "far more than a pipe holds")
    reader = threading.Thread(target=lambda: seen.extend(read_all(receiving)))
    seen: list = []
    reader.start()
    report.close()
    reader.join()
    assert [message.step for message in seen] == list(range(20_000))


def test_lines_of_several_threads_do_not_mix():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    threads = [
        threading.Thread(target=lambda: [report.metrics(step, {"loss": 1.0}) for step in range(100)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.close()
    messages = read_all(receiving)
    assert len(messages) == 400
    assert all(isinstance(message, MetricPoint) and message.HasField("time") for message in messages)


def test_a_supervisor_that_is_gone_does_not_disturb_the_stage():
    receiving, sending = os.pipe()
    os.close(receiving)
    report = PipeReport(sending, attempt=1, fence=2)
    report.progress(1, 2, "into the void")
    report.close()
    assert not report.should_stop()


def test_an_estimate_is_optional():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    report.progress(1, 0, "no idea")
    report.close()
    assert read_all(receiving) == [Progress(step=1, message="no idea")]


def test_checkpoints_that_are_needed_no_more_are_named_in_one_line():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    report.retire([])
    report.retire(["/a/1.7", "/a/2.7"])
    report.close()
    assert read_all(receiving) == [Retirement(("/a/1.7", "/a/2.7"))]


def test_log_records_reach_the_supervisor():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    logger = logging.Logger("workers.training")
    logger.addHandler(ReportHandler(report))
    logger.warning("step %d is slow", 3)
    logger.debug("not worth a line")
    report.close()
    assert read_all(receiving) == [LogLine(logging.WARNING, "workers.training", "step 3 is slow")]


def test_a_stage_is_told_to_stop():
    receiving, sending = os.pipe()
    report = PipeReport(sending, attempt=1, fence=2)
    assert not report.should_stop()
    report.ask_to_stop()
    assert report.should_stop()
    report.close()
    os.close(receiving)
