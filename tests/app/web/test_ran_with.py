from app.web.ran_with import ran_with


def test_a_methods_own_settings_stand_beside_the_others_by_the_names_that_a_task_asks_by() -> None:
    ran = {
        "method": "frozen",
        "method_settings": {"units": 32, "residual": False, "presence": None},
        "epochs": None,
        "memory": 0,
    }
    assert ran_with(ran) == {
        "method": "frozen",
        "method_settings.units": 32,
        "method_settings.residual": False,
        "memory": 0,
    }


def test_what_nobody_chose_is_left_out() -> None:
    assert ran_with({"method_settings": {}, "classes": []}) == {}
