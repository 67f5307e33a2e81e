"""The forms, and what they accept."""

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import DataRequired, Length, Regexp

from apps.coach.models import PLAYER_NAME_MAX, TEAM_NAME_MAX


def tidy(text: str | None) -> str:
    """Return ``text`` with single spaces and none around it; control characters count as spaces.

    >>> tidy(" The  Reds ")
    'The Reds'
    """
    return " ".join("".join(c if ord(c) >= 32 else " " for c in text or "").split())


class TeamForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A team's name."""

    name = StringField(
        "Team name",
        filters=[tidy],
        validators=[
            DataRequired("Give the team a name."),
            Length(max=TEAM_NAME_MAX, message=f"At most {TEAM_NAME_MAX} characters, please."),
        ],
    )


class PlayerForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A player's number and name."""

    number = StringField(
        "Number",
        filters=[tidy],
        validators=[
            DataRequired("Give the player a number."),
            Regexp(r"[0-9]{1,2}\Z", message="A number from 0 to 99, please."),
        ],
        render_kw={"inputmode": "numeric", "pattern": "[0-9]{1,2}", "title": "0 to 99"},
    )
    name = StringField(
        "Player name",
        filters=[tidy],
        validators=[
            DataRequired("Give the player a name."),
            Length(max=PLAYER_NAME_MAX, message=f"At most {PLAYER_NAME_MAX} characters, please."),
        ],
    )
