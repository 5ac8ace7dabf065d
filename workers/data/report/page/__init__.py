"""The data report as one HTML page that needs nothing else: no script, no network, light and dark.

All it shows is in report.json; what is text of people's rows is escaped by the template.
"""

from workers.data.report.page.page import html_page

__all__ = ["html_page"]
