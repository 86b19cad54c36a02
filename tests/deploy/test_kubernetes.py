# SPDX-License-Identifier: Apache-2.0
"""The manifests: valid for Kubernetes, within the restricted pod security standard, and of one piece with each other and the daemon."""
import glob
import os
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from conftest import SECONDS, UNITS, documents, measure, path, program, read, room_for_workers, settings, time_to_stop

FOLDER = "deploy/kubernetes"
# From the oldest Kubernetes that is supported anywhere to the newest one whose schemas there are.
VERSIONS = ["1.30", "1.33", kubernetes_validate.latest_version()]


def manifests():
    """{(kind, name): document} of what is applied, components included."""
    found = {}
    for folder in (FOLDER, FOLDER + "/monitoring", FOLDER + "/scale"):
        (kustomization,) = documents(folder, "kustomization.yaml")
        for name in kustomization["resources"]:
            for document in documents(folder, name):
                found[document["kind"], document["metadata"]["name"]] = document
    return found


@pytest.fixture(scope="module")
def objects():
    return manifests()


@pytest.fixture(scope="module")
def pod(objects):
    return objects["StatefulSet", "h5pt"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["spec"]["containers"]
    return only


@pytest.fixture(scope="module")
def environment(container):
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_every_file_is_in_a_kustomization():
    named = {"kustomization.yaml", "prometheus-adapter.yaml"}  # the values are for helm
    for folder in (FOLDER, FOLDER + "/monitoring", FOLDER + "/scale"):
        named.update(documents(folder, "kustomization.yaml")[0]["resources"])
    assert {os.path.basename(name) for name in glob.glob(path(FOLDER, "**", "*.yaml"), recursive=True)} == named


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_of_kubernetes_hold(objects, version):
    checked = 0
    for (kind, _), document in objects.items():
        if "monitoring.coreos.com" not in document["apiVersion"]:
            kubernetes_validate.validate(document, version, strict=True)
            checked += 1
    assert checked == len(objects) - 1 >= 7


def test_schemas_find_mistakes(objects):
    wrong = yaml.safe_load(yaml.safe_dump(objects["StatefulSet", "h5pt"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_pods_are_restricted(objects, pod, container):
    for mode in ("enforce", "audit", "warn"):
        assert objects["Namespace", "h5pt"]["metadata"]["labels"]["pod-security.kubernetes.io/" + mode] == "restricted"
    security = pod["spec"]["securityContext"]
    assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "USER %d:%d" % (security["runAsUser"], security["runAsGroup"]) in read("Dockerfile")
    assert security["fsGroup"] == security["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod["spec"])
    assert [set(volume) - {"name"} for volume in pod["spec"]["volumes"]] == [{"secret"}]
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_daemon_takes_the_settings(pod, environment):
    values = settings(environment)
    assert values["listen"] == "0.0.0.0:8080" and values["keys_file"]
    # Kubernetes would add variables named after the service, which are no settings.
    assert pod["spec"]["enableServiceLinks"] is False
    links = subprocess.run([program("h5ptd"), "--print-config"], env={**environment, "H5PT_SERVICE_HOST": "10.0.0.1"}, capture_output=True)
    assert links.returncode == 2


def test_limits_and_times_fit(objects, pod, container, environment):
    values = settings(environment)
    limits = container["resources"]["limits"]
    assert measure(limits["memory"], UNITS) >= room_for_workers(values)
    assert float(limits["cpu"]) == int(values["workers"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > time_to_stop(values)
    readiness = container["readinessProbe"]
    assert measure(values["drain_delay"], SECONDS) >= readiness["periodSeconds"], "it is seen that the pod is leaving"
    (volume,) = objects["StatefulSet", "h5pt"]["spec"]["volumeClaimTemplates"]
    assert measure(volume["spec"]["resources"]["requests"]["storage"], UNITS) > 4 * measure(values["max_upload"], UNITS)


def test_mounts_and_ports_are_those_of_the_daemon(objects, pod, container, environment):
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = objects["StatefulSet", "h5pt"]["spec"]["volumeClaimTemplates"]
    assert set(mounts) == {claim["metadata"]["name"] for claim in claims} | {volume["name"] for volume in pod["spec"]["volumes"]}
    assert "H5PT_DATA_DIR=%s" % mounts["data"] in read("Dockerfile") and "H5PT_DATA_DIR" not in environment
    assert os.path.dirname(environment["H5PT_KEYS_FILE"]) == mounts["keys"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert environment["H5PT_LISTEN"].endswith(":%d" % ports["http"]) and environment["H5PT_ADMIN_LISTEN"].endswith(":%d" % ports["admin"])
    routes = subprocess.run([program("h5ptd"), "--print-routes"], env={}, capture_output=True, text=True, check=True).stdout
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "admin" and asked["path"] in routes
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["admin"])
    for name in ("h5pt", "h5pt-pods"):
        assert {port["targetPort"] for port in objects["Service", name]["spec"]["ports"]} <= set(ports)


def test_everything_selects_the_pods(objects, pod):
    labels = pod["metadata"]["labels"]
    selectors = [
        objects["StatefulSet", "h5pt"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget", "h5pt"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy", "h5pt"]["spec"]["podSelector"]["matchLabels"],
        objects["Service", "h5pt"]["spec"]["selector"],
        objects["Service", "h5pt-pods"]["spec"]["selector"],
    ]
    assert selectors == [labels] * len(selectors)
    assert objects["StatefulSet", "h5pt"]["spec"]["serviceName"] == "h5pt-pods"
    monitored = objects["ServiceMonitor", "h5pt"]["spec"]
    found = [name for (kind, name), o in objects.items() if kind == "Service" and monitored["selector"]["matchLabels"].items() <= o["metadata"]["labels"].items()]
    assert found == ["h5pt-pods"]
    assert [endpoint["port"] for endpoint in monitored["endpoints"]] == [port["name"] for port in objects["Service", "h5pt-pods"]["spec"]["ports"]]
    assert objects["Service", "h5pt-pods"]["metadata"]["labels"][monitored["jobLabel"]] == "h5pt", "as alerts and dashboard call it"


def test_the_autoscaler_counts_the_queue(objects):
    scaler = objects["HorizontalPodAutoscaler", "h5pt"]["spec"]
    target = scaler["scaleTargetRef"]
    assert target["apiVersion"] == objects[target["kind"], target["name"]]["apiVersion"]
    (metric,) = scaler["metrics"]
    (rule,) = documents(FOLDER, "scale", "prometheus-adapter.yaml")[0]["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"] == rule["seriesQuery"].split("{")[0]
    assert scaler["behavior"]["scaleDown"]["selectPolicy"] == "Disabled", "a pod that goes takes its queue with it"


def test_the_version_is_that_of_the_project():
    version = settings_version()
    assert documents(FOLDER, "kustomization.yaml")[0]["images"] == [{"name": "h5pt", "newName": "h5pt", "newTag": version}]
    assert documents("deploy/compose.yaml")[0]["services"]["h5pt"]["image"] == "h5pt:" + version


def settings_version():
    return subprocess.run([program("h5ptd"), "--version"], env={}, capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("components", [[], ["monitoring", "scale"]])
def test_kustomize_builds_it(tmp_path, objects, components):
    shutil.copytree(path(FOLDER), tmp_path / "h5pt")
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["h5pt"]}))
    own = yaml.safe_load((tmp_path / "h5pt/kustomization.yaml").read_text())
    (tmp_path / "h5pt/kustomization.yaml").write_text(yaml.safe_dump({**own, "components": components}))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(done.stdout)}
    added = {("ServiceMonitor", "h5pt"), ("HorizontalPodAutoscaler", "h5pt")}
    assert set(built) == set(objects) - (set() if components else added)
    assert all(document["metadata"].get("namespace") == "h5pt" for (kind, _), document in built.items() if kind != "Namespace")
    assert ("replicas" in built["StatefulSet", "h5pt"]["spec"]) == (not components)
    assert built["Service", "h5pt"]["spec"].get("sessionAffinity") == ("ClientIP" if components else None)
    for document in built.values():
        if "monitoring.coreos.com" not in document["apiVersion"]:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
