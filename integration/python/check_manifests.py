"""Checks directories of Kubernetes manifests and the kustomizations in them.

    check_manifests.py DIRECTORY...

Every kustomization is put together and held against the schemas of the oldest and the
newest Kubernetes that the manifests are for, and what names something else must name
something that is there. Every problem is a line of the standard error, which begins with
the name of the directory, and makes it fail.

Of kustomize only what the manifests use is known here; anything else is a problem, so
that nothing goes unchecked.
"""

import functools
import json
import pathlib
import re
import sys

import kubernetes_validate
import yaml

VERSIONS = ("1.30", "1.37")
IN_KUSTOMIZATION = {"apiVersion", "kind", "resources", "patches", "configMapGenerator", "images"}
# Not of a kustomization: what users make by themselves.
EXAMPLES = {"secret.example.yaml"}
VARIABLE = re.compile(r"\$\{(\w+)(:[^}]*)?\}")

problems = []


def problem(where, text):
    problems.append(f"{where}: {text}")


def load(path):
    return yaml.safe_load(path.read_text())


@functools.cache
def of_schemas(resource):
    """What is wrong with a resource, given as JSON: the schemas are large, and overlays share
    most of what they have."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(json.loads(resource), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            found.append(f"is not of Kubernetes {version}: {path}: {error.message}")
    return found


def name_of(resource):
    return resource["kind"], resource["metadata"]["name"]


class Kustomization:
    """A kustomization, put together."""

    def __init__(self, directory, root, used):
        self.root = root
        file = directory / "kustomization.yaml"
        used.add(file)
        content = load(file)
        for key in content.keys() - IN_KUSTOMIZATION:
            self.problem(file, f"{key} is not known to this check")
        self.resources = {}
        # Files of ConfigMaps, by the name of the map.
        self.files = {}
        for entry in content.get("resources", []):
            self.add(directory / entry, used)
        for generator in content.get("configMapGenerator", []):
            self.generate(directory, generator, used)
        for patch in content.get("patches", []):
            self.patch(file, patch)
        for image in content.get("images", []):
            self.set_image(file, image)

    def problem(self, path, text):
        problem(path.relative_to(self.root.parent), text)

    def add(self, path, used):
        path = path.resolve()
        if path.is_dir():
            below = Kustomization(path, self.root, used)
            self.files.update(below.files)
            new = below.resources
        elif path.is_file():
            used.add(path)
            resource = load(path)
            new = {name_of(resource): resource}
        else:
            self.problem(path, "is named and does not exist")
            return
        for key in new.keys() & self.resources.keys():
            self.problem(path, f"{key} is there twice")
        self.resources.update(new)

    def generate(self, directory, generator, used):
        data = {}
        for entry in generator["files"]:
            path = (directory / entry).resolve()
            used.add(path)
            data[path.name] = path.read_text()
        name = generator["name"]
        self.files[name] = data
        generated = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        self.resources[("ConfigMap", name)] = generated

    def patch(self, file, patch):
        target = (patch["target"]["kind"], patch["target"]["name"])
        if target not in self.resources:
            self.problem(file, f"patches {target}, which does not exist")
            return
        for step in yaml.safe_load(patch["patch"]):
            try:
                apply(self.resources[target], step)
            except (KeyError, IndexError, ValueError) as error:
                self.problem(file, f"{step} does not fit {target}: {error!r}")

    def set_image(self, file, image):
        found = [c for c in self.containers() if c["image"] == image["name"]]
        if not found:
            self.problem(file, f"no container has the image {image['name']}")
        for container in found:
            container["image"] = f"{image['newName']}:{image['newTag']}"

    def pods(self):
        """Pod templates with the resource of each."""
        for resource in self.resources.values():
            if "template" in resource.get("spec", {}):
                yield resource, resource["spec"]["template"]

    def containers(self):
        for _, pod in self.pods():
            yield from pod["spec"]["containers"]


def apply(document, step):
    """A step of a JSON patch (RFC 6902)."""
    *way, last = step["path"].strip("/").replace("~1", "/").split("/")
    for part in way:
        document = document[int(part) if isinstance(document, list) else part]
    last = int(last) if isinstance(document, list) else last
    if step["op"] == "test":
        if document[last] != step["value"]:
            raise ValueError(f"{document[last]!r} is there")
    elif step["op"] == "replace":
        document[last]
        document[last] = step["value"]
    elif step["op"] == "remove":
        del document[last]
    else:
        raise ValueError("this check does not know the operation")


def fits(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


class Check:
    def __init__(self, directory, kustomization, secrets):
        self.where = directory
        self.all = kustomization
        self.resources = kustomization.resources
        self.secrets = secrets
        self.pods = list(kustomization.pods())

    def run(self):
        for resource in self.resources.values():
            for text in of_schemas(json.dumps(resource)):
                self.problem(resource, text)
            method = getattr(self, "of_" + resource["kind"].lower(), None)
            if method:
                method(resource)
        for resource, pod in self.pods:
            self.of_pod(resource, pod)

    def problem(self, resource, text):
        problem(self.where, f"{'/'.join(name_of(resource))}: {text}")

    def selected(self, resource, selector):
        pods = [pod for _, pod in self.pods if fits(selector, pod["metadata"]["labels"])]
        if not pods:
            self.problem(resource, f"selects no pod: {selector}")
        return pods

    def ports(self, resource, pods, port, protocol):
        """All of these pods have the port."""
        for pod in pods:
            ports = [p for c in pod["spec"]["containers"] for p in c["ports"]]
            if not any(
                port in (p["name"], p["containerPort"]) and p.get("protocol", "TCP") == protocol
                for p in ports
            ):
                self.problem(resource, f"no port {port} over {protocol} in a pod that it selects")

    def of_service(self, service):
        pods = self.selected(service, service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            self.ports(service, pods, port["targetPort"], port.get("protocol", "TCP"))

    def of_poddisruptionbudget(self, budget):
        self.selected(budget, budget["spec"]["selector"]["matchLabels"])

    def of_networkpolicy(self, policy):
        pods = self.selected(policy, policy["spec"]["podSelector"]["matchLabels"])
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                self.ports(policy, pods, port["port"], port.get("protocol", "TCP"))
            for source in rule["from"]:
                if "podSelector" in source:
                    self.selected(policy, source["podSelector"]["matchLabels"])

    def of_deployment(self, deployment):
        self.of_workload(deployment)

    def of_statefulset(self, stateful):
        self.of_workload(stateful)
        service = self.resources.get(("Service", stateful["spec"]["serviceName"]))
        if service is None or service["spec"].get("clusterIP") != "None":
            self.problem(stateful, "serviceName is not a headless service")

    def of_workload(self, workload):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        if not fits(workload["spec"]["selector"]["matchLabels"], labels):
            self.problem(workload, "does not select its own pods")
        scaled = [
            r["spec"]["scaleTargetRef"]
            for r in self.resources.values()
            if r["kind"] == "HorizontalPodAutoscaler"
        ]
        is_scaled = any((r["kind"], r["name"]) == name_of(workload) for r in scaled)
        if is_scaled == ("replicas" in workload["spec"]):
            self.problem(workload, "either replicas or an autoscaler says how many pods there are")

    def of_horizontalpodautoscaler(self, autoscaler):
        target = autoscaler["spec"]["scaleTargetRef"]
        found = self.resources.get((target["kind"], target["name"]))
        if found is None or found["apiVersion"] != target["apiVersion"]:
            self.problem(autoscaler, f"scales {target}, which does not exist")

    def of_pod(self, resource, pod):
        spec = pod["spec"]
        labels = pod["metadata"]["labels"]
        for spread in spec["topologySpreadConstraints"]:
            if not fits(spread["labelSelector"]["matchLabels"], labels):
                self.problem(resource, "is spread by labels that its pods do not have")
        claims = [c["metadata"]["name"] for c in resource["spec"].get("volumeClaimTemplates", [])]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            name = volume.get("configMap", {}).get("name")
            if name is not None and name not in self.all.files:
                self.problem(resource, f"mounts the ConfigMap {name}, which does not exist")
        for container in spec["containers"]:
            self.of_container(resource, spec, container, volumes, claims)

    def of_container(self, resource, spec, container, volumes, claims):
        mounted = {}
        for mount in container["volumeMounts"]:
            if mount["name"] not in claims and mount["name"] not in volumes:
                self.problem(resource, f"mounts {mount['name']}, which is no volume")
                continue
            map_name = volumes.get(mount["name"], {}).get("configMap", {}).get("name")
            for file, text in self.all.files.get(map_name, {}).items():
                mounted[f"{mount['mountPath']}/{file}"] = text
        port = container["readinessProbe"]["httpGet"]["port"]
        self.ports(resource, [{"spec": spec}], port, "TCP")
        if ":" not in container["image"]:
            self.problem(resource, f"the image {container['image']} has no tag")

        environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        for source in container["envFrom"]:
            secret = self.secrets.get(source["secretRef"]["name"], {})
            if not secret:
                self.problem(resource, f"no example of the Secret {source['secretRef']['name']}")
            environment.update(secret)
        named = [a.removeprefix("--config.file=") for a in container["args"] if "config.file" in a]
        text = mounted.get(named[0]) if named else None
        if text is None:
            self.problem(resource, f"{named} is not in what is mounted")
            return
        for variable, default in VARIABLE.findall(text):
            if variable not in environment and not default:
                self.problem(resource, f"${{{variable}}} of {named[0]} is not in its environment")
        self.of_config(resource, spec, VARIABLE.sub(lambda m: environment.get(m[1], ""), text), mounted, container)

    def of_config(self, resource, spec, text, mounted, container):
        """What the configuration says fits what the pod gives it."""
        config = yaml.safe_load(text)
        stop = sum(seconds(config[key]) for key in ("shutdown_delay", "shutdown_deadline"))
        if spec["terminationGracePeriodSeconds"] <= stop:
            self.problem(resource, f"is killed before a stop of {stop} s can end")
        runtime = config["overrides"]["per_tenant_override_config"]
        if runtime not in mounted:
            self.problem(resource, f"{runtime} is not in what is mounted")
        path = config["storage"]["path"]
        if path not in [mount["mountPath"] for mount in container["volumeMounts"]]:
            self.problem(resource, f"no volume at {path}")
        for member in config["memberlist"]["join_members"]:
            name, _, port = member.partition(":")
            service = self.resources.get(("Service", name))
            ports = [] if service is None else [p["port"] for p in service["spec"]["ports"]]
            if int(port) not in ports:
                self.problem(resource, f"{member} is no service")
        listening = {
            "http": config["server"]["http_listen_port"],
            "grpc": config["server"]["grpc_listen_port"],
            "gossip": config["memberlist"]["bind_port"],
        }
        for protocol, receiver in config["distributor"]["receivers"]["otlp"]["protocols"].items():
            listening[f"otlp-{protocol}"] = int(receiver["endpoint"].rpartition(":")[2])
        for port in container["ports"]:
            if listening.get(port["name"]) != port["containerPort"]:
                self.problem(resource, f"nothing listens at its port {port['name']}")


def seconds(text):
    return int(text.removesuffix("s"))


def check(root):
    """Gives how many kustomizations and files it has."""
    secrets = {}
    used = set()
    for name in EXAMPLES:
        path = root / name
        used.add(path)
        secret = load(path)
        for text in of_schemas(json.dumps(secret)):
            problem(path.relative_to(root.parent), text)
        secrets[secret["metadata"]["name"]] = secret["stringData"]
    found = sorted(root.rglob("kustomization.yaml"))
    for file in found:
        where = file.parent.relative_to(root.parent)
        Check(where, Kustomization(file.parent, root, used), secrets).run()
    for path in sorted(set(root.rglob("*.yaml")) - used):
        problem(path.relative_to(root.parent), "is in no kustomization")
    return len(found), len(used)


def main():
    for directory in sys.argv[1:]:
        kustomizations, files = check(pathlib.Path(directory).resolve())
        print(f"{kustomizations} kustomizations, {files} files")
    for line in problems:
        print(line, file=sys.stderr)
    sys.exit(bool(problems))


main()
