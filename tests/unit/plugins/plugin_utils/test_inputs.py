# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables that are nearly inputs."""

from __future__ import annotations

import inspect
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.filter.misspelled import FilterModule
from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

MISSPELLED = FilterModule().filters()["misspelled"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("image_sizes", "image_size"),
        ("image_filesytem", "image_filesystem"),
        ("image_packges", "image_packages"),
        ("image_recovery_pasphrase", "image_recovery_passphrase"),
        ("image_secureboot", "image_secure_boot"),
        ("image_format", "image_formats"),
        ("image_boot_tests", "image_boot_test"),
        ("image_host_agent", "image_host_agents"),
        ("image_out_dir", "image_output_dir"),
        # A wrong letter in a short name.
        ("image_sise", "image_size"),
        ("image_nane", "image_name"),
        ("image_luk5", "image_luks"),
        # Words that are divided otherwise.
        ("image_file_system", "image_filesystem"),
        ("image_host_name", "image_hostname"),
        ("image_kernel_command_line", "image_kernel_cmdline"),
        ("image_workdir", "image_work_dir"),
        # Other words for the same.
        ("image_arch", "image_architecture"),
        ("image_auth_keys", "image_authorized_keys"),
        ("image_cache_folder", "image_cache_dir"),
        ("image_fs", "image_filesystem"),
        ("image_fs_features", "image_filesystem_features"),
        ("image_fw", "image_firmware"),
        ("image_kernel_args", "image_kernel_cmdline"),
        ("image_kernel_params", "image_kernel_cmdline"),
        ("image_out_directory", "image_output_dir"),
        ("image_outdir", "image_output_dir"),
        ("image_output_directory", "image_output_dir"),
        ("image_pkg", "image_packages"),
        ("image_pkgs", "image_packages"),
        ("image_recovery_pass", "image_recovery_passphrase"),
        ("image_root_passwd_hash", "image_root_password_hash"),
        ("image_working_directory", "image_work_dir"),
        # Words that are missing before it.
        ("image_cmdline", "image_kernel_cmdline"),
        ("image_passphrase", "image_recovery_passphrase"),
        ("image_password_hash", "image_root_password_hash"),
        # Words that say nothing more.
        ("image_secure_boot_enabled", "image_secure_boot"),
        ("image_boot_test_enabled", "image_boot_test"),
        ("image_packages_list", "image_packages"),
        ("image_size_gb", "image_size"),
        ("image_disk_size", "image_size"),
        # Letters that changed places.
        ("image_szie", "image_size"),
        ("image_soruce", "image_source"),
        ("image_nmae", "image_name"),
        ("image_lusk", "image_luks"),
        ("image_uudi", "image_uuid"),
        ("image_output_dri", "image_output_dir"),
        ("image_formt", "image_formats"),
        # A rotation would empty the slot.
        ("rotate_keep_slot", "rotate_keep_slots"),
        # The machines of the default group would be rotated.
        ("rotate_host", "rotate_hosts"),
        ("enroll_host", "enroll_hosts"),
        ("enroll_timeout", "enroll_tpm_timeout"),
        ("launch_sesion", "launch_session"),
        ("launch_vcpu", "launch_vcpus"),
        ("audit_key", "audit_keys"),
        # The registers of the last time would be sealed, or no restart made.
        ("enroll_pcrs", "enroll_tpm_pcrs"),
        ("enroll_reboot", "enroll_tpm_reboot"),
        ("rotate_slots", "rotate_keep_slots"),
        ("rotate_keep", "rotate_keep_slots"),
        ("image_SIZE", "image_size"),
        ("image_fstype", "image_filesystem"),
        ("teardown_froce", "teardown_force"),
    ],
)
def test_a_name_that_is_nearly_an_input(name: str, nearest: str) -> None:
    assert (
        MISSPELLED([name, "inventory_hostname"]) == f"No input is called {name}: write {nearest}."
    )


def test_the_sample_of_the_documentation_is_right() -> None:
    text = pathlib.Path(inspect.getfile(FilterModule)).with_suffix(".yml").read_text()
    (sample,) = [line for line in text.splitlines() if "sample:" in line]
    assert f"sample: '{MISSPELLED(['image_sise'])}'" in sample


def test_all_such_names_are_said_at_once() -> None:
    found = MISSPELLED(["image_sizes", "rotate_keep_slot"])
    assert found.endswith(
        "image_sizes or rotate_keep_slot: write image_size and rotate_keep_slots."
    )


@pytest.mark.parametrize(
    "name",
    [
        # Of a person's own.
        *("image_registry", "image_owner", "image_", "images", "my_image_sise"),
        *("image_dir", "image_host", "image_key", "image_date", "image_type", "image_tag"),
        *("audit_log", "launch_browser", "rotate_logs"),
        *("image_args", "image_directory", "image_file", "image_folder", "image_list", "image_os"),
        *("image_options", "image_path", "image_url", "image_user", "image_version"),
        # image_source has the distribution, and a build without image_source says that it is missing.
        *("image_distribution", "image_distro", "image_release", "image_source_url"),
        # Facts, and what is said to the connection.
        *("image_keys", "image_root", "image_root_uuid", "image_grows", "image_network"),
        *_inputs.inputs(),
        # Of playbooks.
        *(it for names in _inputs.OF_PLAYBOOKS.values() for it in names),
        *("launch_host", "launch_user", "enroll_by"),
    ],
)
def test_a_name_that_is_none(name: str) -> None:
    assert MISSPELLED([name]) == ""


def test_inputs_are_not_taken_for_each_other() -> None:
    """Or a right name would be refused where another one is near."""
    assert MISSPELLED(_inputs.inputs()) == ""
    found = {
        "image_device",
        "image_disk",
        "image_keys",
        "image_lease",
        "image_root",
        "image_sealed",
    }
    assert found <= _inputs.facts()
    assert not {"image_size", "image_network"} & _inputs.facts()
    modules = (pathlib.Path(inspect.getfile(_inputs)).parents[1] / "modules").glob("*.py")
    # Two facts are called as the module that returns them.
    assert {it.stem for it in modules} & _inputs.facts() == {"image_disk", "image_identity"}


def test_a_comment_makes_no_name_right(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "main.yml").write_text("  # image_sise\nx: image_name  # or image_size\n")
    monkeypatch.setattr(_inputs, "ROLES", tmp_path)
    assert "image_sise" not in _inputs.used.__wrapped__()
    assert "image_name" in _inputs.used.__wrapped__()


def test_what_only_a_task_may_say_to_the_connection() -> None:
    found = _inputs.of_tasks()
    assert {"image_detach", "image_network", "image_python", "image_secrets"} <= found
    assert not {"image_builder", "image_command_timeout", "image_hostname", "image_root"} & found
