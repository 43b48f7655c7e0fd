from tinycart import percent_off


def test_ten_percent():
    assert percent_off(1000, 10) == 900


def test_nothing_off():
    assert percent_off(999, 0) == 999


def test_the_price_is_rounded_to_the_nearest_cent():
    assert percent_off(104, 10) == 94


def test_half_a_cent_goes_to_the_customer():
    assert percent_off(1050, 5) == 997
