"""Addresses of the outbox."""

from django.urls import path

from jobs.dashboard.outbox import views

urlpatterns = [
    path("outbox/", views.outbox_page, name="outbox"),
    path("outbox/<int:draft_id>/", views.group_page, name="outbox-group"),
    path("outbox/<int:draft_id>/send/", views.send, name="outbox-send"),
    path("outbox/<int:draft_id>/resume/", views.resume, name="outbox-resume"),
    path("outbox/<int:draft_id>/edit/", views.edit, name="outbox-edit"),
    path("outbox/<int:draft_id>/drop/", views.drop, name="outbox-drop"),
]
