# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What gives a shell to whoever holds a console."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import console
from ansible_collections.sealedroot.image.plugins.module_utils._audit.systemd import Units
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency

ETC, USR = "/etc/systemd/system", "/usr/lib/systemd/system"
OURS = {path: (0o644, text.encode()) for path, text in emergency.FILES.items()}
MASK = (0o777, "/dev/null")


def file(text: str) -> tuple[int, bytes]:
    return (0o644, text.encode())


def exec_(*commands: str) -> tuple[int, bytes]:
    return file("[Service]\n" + "".join(f"ExecStart={it}\n" for it in commands))


def judge(found: list[str], says: str | None) -> None:
    assert [says in problem for problem in found if says] == ([True] if says else []), found
    assert bool(found) is bool(says)


# As Debian has them.
PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
messagebus:x:100:105::/nonexistent:/usr/sbin/nologin
debian:x:1000:1000::/home/debian:/bin/bash
"""
SHADOW = "root:{root}:20787:0:99999:7:::\ndaemon:*:20787:0:99999:7:::\nsync:*:20787::::::\nmessagebus:!:20787::::::\n"


@pytest.mark.parametrize(
    ("passwd", "shadow", "says"),
    [
        (PASSWD, SHADOW.format(root="*"), None),
        (PASSWD, SHADOW.format(root="!"), None),
        (PASSWD, SHADOW.format(root="!*"), None),
        (PASSWD, SHADOW.format(root="$6$salt$hash"), None),
        (PASSWD, SHADOW.format(root=""), "the account root has no password"),
        (PASSWD, SHADOW.format(root="*") + "debian::1::::::\n", "the account debian has no"),
        # Whom shadow does not name has none that is right.
        (PASSWD, "", None),
        ("", "", None),
        # Here it is passwd that says that there is none.
        (PASSWD.replace("root:x", "root:"), SHADOW.format(root="*"), "the account root has no"),
        (PASSWD.replace("root:x", "root:*"), SHADOW.format(root=""), None),
        (PASSWD, SHADOW.format(root="*").replace("sync:*", "sync:"), None),
        (PASSWD, SHADOW.format(root="*").replace("daemon:*", "daemon:"), None),
        # Of two, glibc takes the first; it leaves out what is before a name.
        (PASSWD, "root::1::::::\nroot:*:1::::::\n", "the account root has no password"),
        (PASSWD, "root:*:1::::::\nroot::1::::::\n", None),
        (PASSWD, "\t root::1::::::\n", "the account root has no password"),
        (f" {PASSWD}", "#root:*:1::::::\nroot::1::::::\n", "the account root has no password"),
        # No shell is /bin/sh.
        ("a::1000:1000::/:\n", "", "the account a has no password"),
        ("+::::::\n", "", None),
        ("a::1\n", "a\n", None),
    ],
)
def test_accounts(passwd: str, shadow: str, says: str | None) -> None:
    judge(console.accounts(passwd, shadow), says)


FIRSTBOOT = {f"{USR}/systemd-firstboot.service": exec_("systemd-firstboot --prompt-root-password")}


OPEN_ROOT = {"/etc/shadow": file("root:!unprovisioned:1::::::\n")}


@pytest.mark.parametrize(
    ("files", "asks"),
    [
        ({**FIRSTBOOT, "/etc/shadow": file("root:*:1::::::\n")}, False),
        ({**FIRSTBOOT, **OPEN_ROOT}, True),
        (FIRSTBOOT, True),
        ({**FIRSTBOOT, **OPEN_ROOT, "/etc/machine-id": file("uninitialized\n")}, True),
        # No first boot to systemd; what image_identity writes.
        ({**FIRSTBOOT, **OPEN_ROOT, "/etc/machine-id": file("")}, False),
        ({**FIRSTBOOT, f"{ETC}/systemd-firstboot.service": MASK}, False),
        ({f"{USR}/systemd-firstboot.service": exec_("systemd-firstboot")}, False),
        ({}, False),
    ],
)
def test_first_boot(tree: t.Any, files: dict[str, t.Any], asks: bool) -> None:
    root = tree(files)
    assert bool(console.first_boot(root, Units(root))) is asks


# As systemd 252 and 257 have it, and mingetty.
USUAL = [
    r"-/sbin/agetty -o '-p -- \\u' --noclear - $TERM",
    r"-/sbin/agetty -o '-p -- \\u' --noclear --keep-baud - 115200,38400,9600 $TERM",
    r"-/usr/bin/agetty -o '-- \\u' --noreset --noclear --issue-file=/etc/issue - ${TERM}",
    "-/sbin/mingetty --noclear %I",
    "-/sbin/mingetty --loginprog=/bin/login %I",
    "-/sbin/agetty -o '-p -h f -r f' %I",
    "-/sbin/agetty -L 115200 ttyS0 vt100",
    "-/sbin/agetty -l /usr/bin/login --noclear tty1",
]
OPEN = [
    ("-/sbin/agetty --autologin root --noclear %I $TERM", "(--autologin)"),
    ("-/sbin/agetty --autologin=root %I", "(--autologin)"),
    ("-/sbin/agetty --autol root %I", "(--autologin)"),
    ("-/sbin/agetty -a root %I", "(--autologin)"),
    ("-/sbin/agetty -aroot %I", "(--autologin)"),
    ("-/sbin/agetty -8La root %I", "(--autologin)"),
    (r"-/sbin/agetty -o '-p -f root' %I", "(login -f)"),
    ("-/sbin/agetty --login-options='-f root' %I", "(login -f)"),
    ("-/sbin/agetty -n -o '-pf root' %I", "(login -f)"),
    ("-/sbin/agetty -n -o '-p -fp -- root' %I", "(login -f)"),
    ("-/sbin/mingetty --loginprog=/bin/sh %I", "starts /bin/sh in place of a login"),
    ("-/sbin/mingetty --loginprog /tmp/login-x %I", "starts /tmp/login-x in place of a login"),
    ("-/sbin/rungetty %I -- /bin/bash", "starts /sbin/rungetty, which is none of"),
    ("-/sbin/agetty -n -l /bin/bash %I", "starts /bin/bash in place of a login"),
    ("-/sbin/agetty --skip-login --login-program=/bin/bash %I", "starts /bin/bash in place of"),
    ("-/bin/bash", "starts /bin/bash, which is none of agetty, getty, mingetty"),
    ("@/bin/sh 'unclosed", "starts /bin/sh, which is none of"),
]


@pytest.mark.parametrize(("command", "says"), [*((it, None) for it in USUAL), *OPEN])
def test_a_getty(tree: t.Any, command: str, says: str | None) -> None:
    files = {f"{USR}/getty@.service": exec_(command)}
    judge(console.gettys(Units(tree(files))), says)


AUTOLOGIN = exec_("", "-/sbin/agetty --autologin root %I")
SHIPPED = {f"{USR}/{name}": exec_(USUAL[0]) for name in ("getty@.service", "serial-getty@.service")}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, None),
        ({"getty@.service.d/x.conf": AUTOLOGIN}, f"{ETC}/getty@.service.d/x.conf logs in without"),
        ({"getty@tty1.service.d/x.conf": AUTOLOGIN}, "getty@tty1.service.d/x.conf logs in"),
        ({"serial-getty@ttyS0.service": AUTOLOGIN}, "serial-getty@ttyS0.service logs in"),
        ({"console-getty.service": AUTOLOGIN}, "console-getty.service logs in"),
        ({"container-getty@.service": AUTOLOGIN}, "container-getty@.service logs in"),
        # A drop-in behind it takes that back.
        (
            {"getty@.service.d/x.conf": AUTOLOGIN, "getty@.service.d/y.conf": exec_("", USUAL[0])},
            None,
        ),
        ({"getty@.service.d/x.conf": file("[Service]\nTTYVTDisallocate=no\n")}, None),
        (
            {"getty@.service.d/x.conf": file("[Service]\nSetCredential=agetty.autologin:root\n")},
            "credential agetty.autologin",
        ),
        (
            {"getty@.service.d/x.conf": file("[Service]\nLoadCredential=login.noauth:/etc/x\n")},
            "credential login.noauth",
        ),
        ({"getty@.service.d/x.conf": file("[Service]\nImportCredential=agetty.*\n")}, None),
        (
            {
                "getty@.service.d/x.conf": file(
                    "[Service]\nImportCredential=my.l:agetty.autologin\n"
                )
            },
            "takes my.l:agetty.autologin for a login",
        ),
        *(
            (
                {"serial-getty@.service.d/x.conf": file(f"[Service]\n{key}=-/bin/bash\n")},
                f"({key}) at",
            )
            for key in (
                "ExecStartPre",
                "ExecCondition",
                "ExecStartPost",
                "ExecStopPost",
                "ExecReload",
            )
        ),
        ({"getty@.service": MASK, "getty@.service.d/x.conf": AUTOLOGIN}, None),
        ({"other.service": AUTOLOGIN}, None),
    ],
)
def test_gettys(tree: t.Any, files: dict[str, t.Any], says: str | None) -> None:
    root = tree({**SHIPPED, **{f"{ETC}/{name}": content for name, content in files.items()}})
    judge(console.gettys(Units(root)), says)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/etc/credstore/agetty.autologin", "logs in without a password"),
        ("/usr/lib/credstore.encrypted/login.noauth", "logs in without a password"),
        ("/etc/credstore/network.wireguard.key", None),
    ],
)
def test_credentials(tree: t.Any, path: str, says: str | None) -> None:
    judge(console.credentials(tree({path: file("root")})), says)


SHELL = {
    f"{USR}/debug-shell.service": file(
        "[Service]\nExecStart=/bin/bash\n[Install]\nWantedBy=sysinit.target\n"
    )
}
STARTED = {f"{ETC}/sysinit.target.wants/debug-shell.service": (0o777, f"{USR}/debug-shell.service")}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (SHELL, None),
        ({**SHELL, **STARTED}, f"{ETC}/sysinit.target.wants/debug-shell.service starts"),
        ({**SHELL, **STARTED, f"{ETC}/debug-shell.service": MASK}, None),
        (STARTED, None),
        (
            {**SHELL, f"{ETC}/x.service": file("[Unit]\nWants=debug-shell.service\n")},
            f"{ETC}/x.service starts",
        ),
    ],
)
def test_debug_shell(tree: t.Any, files: dict[str, t.Any], says: str | None) -> None:
    judge(console.debug_shell(Units(tree(files))), says)


MANAGER = "[Manager]\nCrashShell={}\n"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, None),
        ({"/etc/systemd/system.conf": MANAGER.format("yes")}, "/etc/systemd/system.conf has Crash"),
        ({"/etc/systemd/system.conf": "[Manager]\n#CrashShell=yes\n"}, None),
        (
            {"/usr/lib/systemd/system.conf.d/x.conf": MANAGER.format("On")},
            "system.conf.d/x.conf has",
        ),
        ({"/etc/systemd/system.conf.d/x": MANAGER.format("yes")}, None),
        # A drop-in has the last word.
        (
            {
                "/etc/systemd/system.conf": MANAGER.format("yes"),
                "/etc/systemd/system.conf.d/x.conf": MANAGER.format("no"),
            },
            None,
        ),
    ],
)
def test_crash_shell(tree: t.Any, files: dict[str, str], says: str | None) -> None:
    judge(console.crash_shell(tree({name: file(text) for name, text in files.items()})), says)


DISTRIBUTION = {
    f"{USR}/emergency.service": file(
        "[Service]\nExecStartPre=-/bin/plymouth --wait quit\nExecStart=-sulogin\n"
    ),
    f"{USR}/rescue.service": file(
        "[Service]\nExecStart=-sulogin\nExecStopPost=-systemctl default\n"
    ),
    f"{USR}/emergency.target": file("[Unit]\nRequires=emergency.service\n"),
}
SULOGIN = exec_("", "-/sbin/sulogin")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, None),
        (
            {f"{ETC}/emergency.service.d/zz.conf": SULOGIN},
            "because of /etc/systemd/system/emergency.service.d/zz.conf",
        ),
        (
            {f"{USR}/rescue.service.d/zz.conf": SULOGIN},
            "because of /usr/lib/systemd/system/rescue.service.d/zz.conf",
        ),
        ({f"{ETC}/service.d/zz.conf": exec_("")}, "emergency.service does not restart"),
        # Ours is read after these.
        ({f"{ETC}/emergency.service.d/a.conf": SULOGIN}, None),
        ({f"{ETC}/emergency.service": SULOGIN}, None),
        ({f"{ETC}/emergency.service.d/zz.conf": file("[Service]\nEnvironment=A=b\n")}, None),
        # Ours says nothing of these.
        (
            {f"{ETC}/emergency.service": file("[Service]\nExecCondition=/bin/sh\n")},
            "run '/bin/sh' (ExecCondition)",
        ),
        (
            {f"{ETC}/rescue.service.d/a.conf": file("[Service]\nExecStartPost=/bin/sh\n")},
            "(ExecStartPost)",
        ),
        # Hides ours.
        (
            {f"{ETC}.control/rescue.service.d/sealedroot.conf": MASK},
            "rescue.service does not restart",
        ),
        ({f"{ETC}/emergency.target": file("[Unit]\nRequires=x.service\n")}, "takes the place"),
        ({f"{ETC}/emergency.target": MASK}, None),
        (
            {f"{ETC}/emergency.target.d/a.conf": file("[Unit]\nWants=x.service\n")},
            "emergency.target.d/a.conf changes systemd's own",
        ),
        (
            {f"{USR}/rescue.target.d/a.conf": file("[Unit]\nWants=x.service\n")},
            "rescue.target.d/a.conf changes systemd's own",
        ),
        # Nothing starts then, and no shell.
        ({f"{ETC}/emergency.service": MASK}, None),
    ],
)
def test_failed_boots(tree: t.Any, files: dict[str, t.Any], says: str | None) -> None:
    root = tree({**DISTRIBUTION, **OURS, **files})
    found = console.failed_boots(root, Units(root))
    judge(found[:1], says)


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("/etc/sysctl.d/zzzzz.conf", "kernel.sysrq = 438\n", "sets kernel.sysrq to 438"),
        ("/usr/lib/sysctl.d/zzzzz.conf", "-kernel/sysrq=1\n", "sets kernel.sysrq to 1"),
        (
            "/etc/sysctl.d/zzzzz.conf",
            "# kernel.sysrq = 1\nkernel.sysrq=0\nkernel.panic = 1\n",
            None,
        ),
        ("/etc/sysctl.d/zzzzz", "kernel.sysrq = 1\n", None),
        # Ours is read after these.
        ("/etc/sysctl.d/99-sysctl.conf", "kernel.sysrq = 1\n", None),
        ("/usr/lib/sysctl.d/55-magic-sysrq.conf", "kernel.sysrq = 0x01b6\n", None),
        # What is written out has priority.
        ("/etc/sysctl.d/zzzzz.conf", "kernel.* = 1\n", None),
        ("/etc/sysctl.conf", "kernel.sysrq=1\n", "/etc/sysctl.conf is read after"),
        ("/etc/sysctl.conf", "#kernel.sysrq=438\n", None),
    ],
)
def test_sysrq(tree: t.Any, path: str, content: str, says: str | None) -> None:
    judge(console.sysrq(tree({**OURS, path: file(content)})), says)


def test_sysrq_of_a_file_that_another_hides(tree: t.Any) -> None:
    files = {
        "/usr/lib/sysctl.d/zzzzz.conf": file("kernel.sysrq=1\n"),
        "/etc/sysctl.d/zzzzz.conf": MASK,
    }
    assert console.sysrq(tree({**OURS, **files})) == []


def test_all_of_them(tree: t.Any) -> None:
    files = {"/etc/passwd": file(PASSWD), "/etc/shadow": file(SHADOW.format(root="*"))}
    good = {**files, **SHIPPED, **DISTRIBUTION, **OURS, **SHELL, **FIRSTBOOT}
    assert console.examine(tree(good), Units(tree(good))) == []
    bad = {
        **good,
        **STARTED,
        "/etc/shadow": file(SHADOW.format(root="")),
        "/etc/credstore/login.noauth": file("yes"),
        f"{ETC}/getty@.service.d/x.conf": AUTOLOGIN,
        f"{ETC}/rescue.service.d/zz.conf": SULOGIN,
        "/etc/sysctl.conf": file("kernel.sysrq=1\n"),
    }
    assert len(console.examine(tree(bad), Units(tree(bad)))) == 6
