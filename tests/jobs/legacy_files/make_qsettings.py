"""Made the .ini files beside this, with PyQt6 6.12 and PyQt5 5.15: python make_qsettings.py qt6.ini

Neither is needed to run the tests. Run it in an environment of its own that has one of them.
"""

import sys

try:
    from PyQt6.QtCore import (
        QByteArray,
        QDate,
        QDateTime,
        QPoint,
        QPointF,
        QRect,
        QRectF,
        QSettings,
        QSize,
        QSizeF,
        Qt,
        QTime,
        QUrl,
        QUuid,
    )

    INI, UTC = QSettings.Format.IniFormat, Qt.TimeSpec.UTC
    OFFSET = Qt.TimeSpec.OffsetFromUTC
except ImportError:
    from PyQt5.QtCore import (
        QByteArray,
        QDate,
        QDateTime,
        QPoint,
        QPointF,
        QRect,
        QRectF,
        QSettings,
        QSize,
        QSizeF,
        Qt,
        QTime,
        QUrl,
        QUuid,
    )

    INI, UTC, OFFSET = QSettings.IniFormat, Qt.UTC, Qt.OffsetFromUTC

settings = QSettings(sys.argv[1], INI)
DAY = QDate(2024, 2, 29)
VALUES = {
    "volume": 5,
    "ratio": 1.5,
    "muted": True,
    "big": 2**40,
    "name": 'Grüße, "you"; a\\b 日本 \U0001f600',
    "nul": "a\0b",
    "at": "@home",
    "empty": "",
    "multi": "line 1\nline 2\tx",
    "spaces": "  x  ",
    "digits": "\x01f\x1b2",
    "recent": ["a.txt", "b, c.txt", "@d"],
    "one": ["only"],
    "none": [],
    "invalid": None,
    "mixed": [1, "two", QSize(1, 2)],
    "map": {"x": 1, "y": [1, 2.5, "z"], "b": True},
    "day": DAY,
    "clock": QTime(1, 2, 3, 4),
    "when": QDateTime(DAY, QTime(12, 30, 15, 250), UTC),
    "local": QDateTime(DAY, QTime(12, 30)),
    "offset": QDateTime(DAY, QTime(12, 30), OFFSET, 3600),
    "url": QUrl("https://example.org/a?b=c"),
    "uuid": QUuid("{12345678-1234-5678-1234-567812345678}"),
    "object": {1, 2},  # a class of Python's, which only its pickle could bring back
    "window/size": QSize(800, 600),
    "window/pos": QPoint(3, -4),
    "window/rect": QRect(1, 2, 3, 4),
    "window/sizef": QSizeF(1.5, 2.5),
    "window/pointf": QPointF(1.5, -2.5),
    "window/rectf": QRectF(1, 2, 3, 4),
    "window/geometry": QByteArray(bytes(range(256))),
    "window/deep/er": 1,
    "percent key/ä ö": 7,
    "General/inside": "g",
}
for name, value in VALUES.items():
    settings.setValue(name, value)
settings.beginWriteArray("logins")
for index, user in enumerate(["ann", "bob"]):
    settings.setArrayIndex(index)
    settings.setValue("user", user)
settings.endArray()
settings.sync()
