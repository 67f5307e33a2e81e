"""The pages: all teams, one team, and the forms that change it."""

from flask import Blueprint, abort, current_app, flash, redirect, render_template, url_for
from peewee import IntegrityError, prefetch
from werkzeug.wrappers import Response

from apps.coach import folder
from apps.coach.forms import PlayerForm, TeamForm
from apps.coach.models import FILE_NAME, Player, Team, database

teams = Blueprint("teams", __name__)

_TEAM = "/teams/<int(max=2147483647):team_id>"  # SQLite fails on numbers of more than 64 bits
_PLAYER = "/players/<int(max=2147483647):player_id>"

Answer = str | tuple[str, int] | Response


@teams.before_request
def _connect() -> None:
    database.connect(reuse_if_open=True)


@teams.route("/", methods=["GET", "POST"])
def index() -> Answer:
    """List the teams with their players; add a team."""
    form = TeamForm()
    if form.validate_on_submit():
        name = form.name.data
        try:
            team = Team.create(name=name, key=name.casefold())
        except IntegrityError:
            form.name.errors.append(_taken(name))
        else:
            flash(f"Team {name} was added.")
            return redirect(url_for(".show", team_id=team.id))
    found = prefetch(Team.select().order_by(Team.key), Player.select().order_by(Player.number))
    database_path = current_app.config["DATA_FOLDER"] / FILE_NAME
    page = render_template(
        "teams.html", form=form, teams=found, set_aside=folder.set_aside_files(database_path)
    )
    return _page(page, form)


@teams.route(_TEAM, methods=["GET", "POST"])
def show(team_id: int) -> Answer:
    """Show a team; add a player."""
    form = PlayerForm()
    if form.validate_on_submit():
        number, name = int(form.number.data), form.name.data
        try:
            with database.atomic("IMMEDIATE"):  # nobody deletes the team in between
                Player.create(team=_find(team_id), number=number, name=name)
        except IntegrityError:
            form.number.errors.append(f"Number {number} is taken.")
        else:
            flash(f"{name} was added with number {number}.")
            return redirect(url_for(".show", team_id=team_id))
    team = _find(team_id)
    players = Player.select().where(Player.team == team_id).order_by(Player.number)
    return _page(render_template("team.html", form=form, team=team, players=players), form)


@teams.route(f"{_TEAM}/rename", methods=["GET", "POST"])
def rename(team_id: int) -> Answer:
    """Rename a team."""
    team = _find(team_id)
    form = TeamForm(obj=team)
    if form.validate_on_submit():
        name = form.name.data
        changed = Team.update(name=name, key=name.casefold()).where(Team.id == team_id)
        try:
            changed.execute()
        except IntegrityError:
            form.name.errors.append(_taken(name))
        else:
            flash(f"Team {team.name} is now called {name}.")
            return redirect(url_for(".show", team_id=team_id))
    return _page(render_template("rename.html", form=form, team=team), form)


@teams.get(f"{_TEAM}/delete")
def ask_delete(team_id: int) -> Answer:
    """Ask for confirmation before a team is deleted."""
    return render_template("delete.html", team=_find(team_id))


@teams.post(f"{_TEAM}/delete")
def delete(team_id: int) -> Answer:
    """Delete a team and its players."""
    team = _find(team_id)
    Team.delete().where(Team.id == team_id).execute()
    flash(f"Team {team.name} was deleted.")
    return redirect(url_for(".index"))


@teams.post(f"{_TEAM}{_PLAYER}/remove")
def remove(team_id: int, player_id: int) -> Answer:
    """Remove a player from a team."""
    player = Player.get_or_none(Player.id == player_id, Player.team == team_id)
    if player is None:
        abort(404)
    Player.delete().where(Player.id == player_id).execute()
    flash(f"{player.name}, number {player.number}, was removed.")
    return redirect(url_for(".show", team_id=team_id))


def _find(team_id: int) -> Team:
    team = Team.get_or_none(Team.id == team_id)
    if team is None:
        abort(404)
    return team


def _taken(name: str) -> str:
    return f"There is already a team called {name}."


def _page(page: str, form: TeamForm | PlayerForm) -> Answer:
    return (page, 422) if form.is_submitted() else page
