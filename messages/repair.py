"""What an operator types on the broker's machine, as programs print it and documents name it."""

from __future__ import annotations

#: Where the topology's file is installed for `rabbitmqctl`. Absolute and readable by everybody:
#: Debian's command changes to /var/lib/rabbitmq and to the user `rabbitmq`, for whom a relative
#: path, or one below somebody's home, is not there.
DEFINITIONS_FILE = "/etc/rabbitmq/labrelay-definitions.json"

#: Puts the file there, from a checkout.
INSTALL_DEFINITIONS = f"install -m 644 infra/rabbitmq/definitions.json {DEFINITIONS_FILE}"

#: Makes what is missing of the topology; what exists stays.
IMPORT_DEFINITIONS = f"rabbitmqctl import_definitions {DEFINITIONS_FILE}"

#: Both, line by line.
IMPORT_COMMANDS = f"{INSTALL_DEFINITIONS}\n{IMPORT_DEFINITIONS}"

#: Both within a sentence.
IMPORT_SENTENCE = (
    f"on the broker, {IMPORT_DEFINITIONS} puts the topology there "
    f"({INSTALL_DEFINITIONS} puts that file there)"
)

#: Names alarms. On RabbitMQ 4.3 `check_local_alarms` looks at nothing and succeeds.
ALARMS = "rabbitmq-diagnostics check_alarms"
