from __future__ import annotations

from django.urls import path

from rollbacks.views import arrivals, log, postmortems, restore_points, rollbacks, systems

app_name = "rollbacks"

system_urls = [
    path("systems/", systems.systems, name="systems"),
    path("systems/add/", systems.add_system, name="add_system"),
    path("systems/<slug:name>/", systems.system, name="system"),
    path("systems/<slug:name>/manifest/", systems.manifest, name="manifest"),
    path("systems/<slug:name>/backup/", systems.backup, name="backup"),
    path("systems/<slug:name>/restore-points/", restore_points.restore_points, name="restore_points"),
    path("systems/<slug:name>/adopt/", restore_points.adopt, name="adopt"),
    path("systems/<slug:name>/prune/", restore_points.prune, name="prune"),
    path("systems/<slug:name>/declare/", systems.declare, name="declare"),
    path("systems/<slug:name>/roll-back/", rollbacks.roll_back, name="roll_back"),
    path("systems/<slug:name>/matrix/", rollbacks.matrix_answer, name="matrix"),
]

restore_point_urls = [
    path("restore-points/<int:pk>/", restore_points.restore_point, name="restore_point"),
    path("restore-points/<int:pk>/verify/", restore_points.verify, name="verify"),
    path("restore-points/<int:pk>/pin/", restore_points.pin, name="pin"),
    path("restore-points/<int:pk>/mark-bad/", restore_points.mark_bad, name="mark_bad"),
]

rollback_urls = [
    path("rollbacks/", rollbacks.rollbacks, name="rollbacks"),
    path("rollbacks/<int:pk>/", rollbacks.rollback, name="rollback"),
    path("rollbacks/<int:pk>/steps/<int:number>/", rollbacks.output, name="output"),
    path("rollbacks/<int:pk>/tick/<slug:item>/", rollbacks.tick, name="tick"),
    path("rollbacks/<int:pk>/withdraw/<slug:item>/", rollbacks.withdraw, name="withdraw"),
    path("rollbacks/<int:pk>/approve/", rollbacks.approve, name="approve"),
    path("rollbacks/<int:pk>/reject/", rollbacks.reject, name="reject"),
    path("rollbacks/<int:pk>/override/", rollbacks.override, name="override"),
    path("rollbacks/<int:pk>/cancel/", rollbacks.cancel, name="cancel"),
    path("rollbacks/<int:pk>/abort/", rollbacks.abort, name="abort"),
    path("rollbacks/<int:pk>/complete/", rollbacks.complete, name="complete"),
    path("rollbacks/<int:pk>/resume/", rollbacks.resume, name="resume"),
    path("rollbacks/<int:pk>/revert/", rollbacks.revert, name="revert"),
    path("rollbacks/<int:pk>/settle/", rollbacks.settle, name="settle"),
]

log_urls = [
    path("log/", log.log, name="log"),
    path("log/imported/", log.imported, name="imported"),
    path("log/<int:pk>/explain/", log.explain, name="explain"),
]

postmortem_urls = [
    path("incidents/<int:pk>/post-mortem/", postmortems.postmortem, name="postmortem"),
    path("incidents/<int:pk>/post-mortem/begin/", postmortems.begin, name="begin"),
    path("incidents/<int:pk>/post-mortem/address/", postmortems.address, name="address"),
    path("incidents/<int:pk>/post-mortem/submit/", postmortems.submit, name="submit"),
    path("incidents/<int:pk>/post-mortem/request-changes/", postmortems.request_changes, name="request_changes"),
    path("incidents/<int:pk>/post-mortem/publish/", postmortems.publish, name="publish"),
    path("incidents/<int:pk>/post-mortem/amend/", postmortems.amend, name="amend"),
    path("incidents/<int:pk>/post-mortem/print/", postmortems.print_page, name="print_postmortem"),
    path("incidents/<int:pk>/post-mortem/export/", postmortems.export, name="export_postmortem"),
    path("incidents/<int:pk>/post-mortem/revisions/<int:number>/", postmortems.revision, name="revision"),
    path("post-mortem-sections/<int:pk>/write/", postmortems.write, name="write"),
    path("post-mortem-sections/<int:pk>/comment/", postmortems.comment, name="comment"),
    path("post-mortem-comments/<int:pk>/resolve/", postmortems.resolve_comment, name="resolve_comment"),
]

arrival_urls = [
    path("in/<slug:name>/", arrivals.arrive, name="arrive"),
    path("in/<slug:name>/<str:token>/", arrivals.arrive, name="arrive_by_address"),
]

urlpatterns = system_urls + restore_point_urls + rollback_urls + log_urls + postmortem_urls + arrival_urls
