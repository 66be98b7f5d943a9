#!/bin/sh
# {{ row.id | one_line }} on {{ cell.build.name | one_line }} ({{ cell.build.version }}){% if cell.peer %}, from {{ cell.peer.name | one_line }} ({{ cell.peer.version }}){% endif %}.
# {{ row.title | one_line }}
# What the scenario did to the cluster, in order. Comments name the member that a command belongs to.
# Values that were drawn in that run (fingerprints, tokens, addresses) stand as they were then.
{% set last = namespace(member="") %}
{% for step in steps %}
{% if step.member != last.member and step.line %}

# on {{ step.member | one_line }}
{% set last.member = step.member %}
{% endif %}
{% if step.note %}
# {{ step.note | one_line }}
{% elif step.stdin %}
{{ step.line }} <<'END_OF_INPUT'
{{ step.stdin }}
END_OF_INPUT
{% else %}
{{ step.line }}
{% endif %}
{% endfor %}
