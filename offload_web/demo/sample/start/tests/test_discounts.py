from tinycart import percent_off


def test_ten_percent():
    assert percent_off(1000, 10) == 900


def test_nothing_off():
    assert percent_off(999, 0) == 999
