//! LH320 to LH343: pods that cannot have a sidecar, or not this one.

use crate::inject::code;
use crate::rules::Rule;
use crate::symptom::At;

pub(super) static PAGES: &[Rule] = &[
    Rule {
        code: code::HOST_NETWORK,
        name: "host-network",
        summary: "a pod with the network of its node asks for a sidecar",
        why: "Its localhost is the node's: every other process there reaches the application past the sidecar, and the \
              sidecar's port is taken on the whole node.",
        symptoms: &[At::Kubernetes.shows(
            "without lasthop: a second pod on the node ends with \"address already in use\"",
        )],
        example: "\
spec:
  hostNetwork: true",
        cure: "Take `hostNetwork: true` out, or opt out with `lasthop.dev/inject: \"false\"`.",
        judge: None,
    },
    Rule {
        code: code::WINDOWS,
        name: "windows",
        summary: "a pod for Windows nodes asks for a sidecar",
        why: "The sidecar is a Linux program; the pod would hang in `ErrImagePull`.",
        symptoms: &[At::Kubernetes
            .shows("the pod stays in `ErrImagePull`, \"no matching manifest for windows\"")],
        example: "\
spec:
  os:
    name: windows",
        cure: "End TLS elsewhere, and opt out with `lasthop.dev/inject: \"false\"`.",
        judge: None,
    },
    Rule {
        code: code::PORT_CLASH,
        name: "port-clash",
        summary: "a port of the sidecar is taken",
        why: "The containers of a pod share one network, so a port is bound once. Whoever comes second ends with \"address \
              already in use\" and is started again and again.",
        symptoms: &[
            At::Kubernetes.shows("`CrashLoopBackOff` of whichever container comes second"),
            At::Sidecar.shows("\"Address already in use (os error 98)\""),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8443\"",
        cure: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8444:8443\"",
        judge: None,
    },
    Rule {
        code: code::SHARED_PROCESSES,
        name: "shared-processes",
        summary: "with one process table for the pod, the application could read the sidecar's private keys",
        why: "With `shareProcessNamespace: true` a container sees the processes of the others. One that runs as root or \
              as the same user reads their memory and, below `/proc/PID/root`, their files.",
        symptoms: &[At::Kubernetes
            .shows("nothing: `kubectl exec` into the application shows the sidecar in `ps`")],
        example: "\
spec:
  shareProcessNamespace: true
  containers:
  - name: app # runs as root",
        cure: "\
spec:
  shareProcessNamespace: true
  containers:
  - name: app
    securityContext:
      runAsUser: 1000",
        judge: None,
    },
    Rule {
        code: code::CONTAINER_NAME,
        name: "container-name",
        summary: "a container has the sidecar's name",
        why: "Names of containers are unique in a pod, and `lasthop` is the sidecar's. A container of that name which lasthop did \
              not write is left alone, so there is no place for the sidecar.",
        symptoms: &[At::Apply.shows(
            "lasthop refuses it; without it, two of the name would be `Duplicate value: \
                 \"lasthop\"`",
        )],
        example: "\
spec:
  containers:
  - name: lasthop
    image: my-own",
        cure: "Give the container another name.",
        judge: None,
    },
    Rule {
        code: code::APP_PORT,
        name: "app-port",
        summary: "the port of the application is not known",
        why: "Without `lasthop.dev/ports` the sidecar listens on 8443 and forwards to the application's only port. Where no \
              container declares a port, or they declare several, nobody knows which one is meant.",
        symptoms: &[At::Apply
            .shows("lasthop refuses the workload; its message lists the ports that are declared")],
        example: "\
spec:
  containers:
  - name: app
    ports:
    - containerPort: 8080
    - containerPort: 9090",
        cure: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8080\"",
        judge: None,
    },
    Rule {
        code: code::PROBE,
        name: "probe-at-sidecar",
        summary: "a probe that the sidecar was to perform cannot be performed",
        why: "kubelet has no client certificate, and does not reach what listens on loopback alone: the sidecar performs such \
              probes in its stead. It cannot where the application is on a Unix socket, or where a probe asks the \
              sidecar's status port for one whose original is not in `lasthop.dev/original-probes`. The pod never becomes \
              ready, or is restarted again and again.",
        symptoms: &[At::Kubernetes.shows(
            "event `Unhealthy`, \"Readiness probe failed: HTTP probe failed with statuscode: \
                 404\"",
        )],
        example: "\
readinessProbe:
  httpGet:
    path: /probes/app/readiness # copied from a running pod, without its annotations
    port: 15443",
        cure: "\
readinessProbe:
  httpGet:
    path: /healthz
    port: 8080",
        judge: None,
    },
    Rule {
        code: code::HOST_PORT,
        name: "host-port",
        summary: "a port of the node leads to the application, past the sidecar",
        why: "`hostPort` opens the application's own port on the address of the node: whoever reaches the node speaks plaintext \
              with the application and is asked for no certificate. And where the application listens on 127.0.0.1 alone, as it \
              should, nothing answers there. What stood there before may stay; where it is meant to, `lasthop.dev/ignore` says why.",
        symptoms: &[At::Curl.shows(
            "plaintext is answered at the address of the node; \"Connection refused\" where \
                 the application listens on 127.0.0.1",
        )],
        example: "\
ports:
- containerPort: 8080
  hostPort: 80",
        cure: "\
ports:
- containerPort: 8080",
        judge: None,
    },
    Rule {
        code: code::APP_SOCKET,
        name: "app-socket",
        summary: "the application's Unix socket lies in no volume that the sidecar can be shown",
        why: "Containers of a pod share volumes, not file systems. The sidecar is shown the folder of the socket, read-only, if \
              the application's container mounts a volume there.",
        symptoms: &[
            At::Sidecar.shows("answers 502, \"No such file or directory (os error 2)\" in its log")
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/app-socket: /run/app/app.sock
spec:
  containers:
  - name: app # mounts nothing at /run/app",
        cure: "\
spec:
  containers:
  - name: app
    volumeMounts:
    - name: run
      mountPath: /run/app
  volumes:
  - name: run
    emptyDir:
      medium: Memory",
        judge: None,
    },
    Rule {
        code: code::MIRROR_POD,
        name: "mirror-pod",
        summary: "a pod that kubelet makes from a file of its node asks for a sidecar",
        why: "A static pod is kubelet's; the API server has a mirror of it that nobody can change, and it can mount no Secrets. \
              It runs without a sidecar.",
        symptoms: &[
            At::Kubernetes.shows("the pod runs `1/1` on its node, whatever its annotations say")
        ],
        example: "\
metadata:
  annotations:
    kubernetes.io/config.mirror: 7b4c3f
    lasthop.dev/inject: \"true\"",
        cure: "Run it as a DaemonSet, or end TLS in the application itself.",
        judge: None,
    },
    Rule {
        code: code::IMAGE,
        name: "sidecar-image",
        summary: "the image of the sidecar is not one that the operator allows",
        why: "The sidecar holds private keys. Which images may do that is for the operator of lasthop to say, with \
              `--allowed-sidecar-images`, and not for everybody who may write a Deployment.",
        symptoms: &[At::Apply
            .shows("lasthop refuses the workload; its message lists the images that are allowed")],
        example: "\
metadata:
  annotations:
    lasthop.dev/sidecar-image: docker.io/somebody/sidecar",
        cure: "Leave the annotation out.",
        judge: None,
    },
    Rule {
        code: code::VOLUME_NAME,
        name: "volume-name",
        summary: "a volume has a name that the sidecar needs",
        why: "Names of volumes are unique in a pod. The sidecar's begin with `lasthop-tls-`, `lasthop-ca-`, `lasthop-cacm-`, \
              `lasthop-crl-`, `lasthop-upca-` and `lasthop-upcacm-`, and go on with the name of the Secret.",
        symptoms: &[At::Apply.shows("`spec.volumes[1].name: Duplicate value` without this check")],
        example: "\
spec:
  volumes:
  - name: lasthop-tls-web-tls
    emptyDir: {}",
        cure: "Give the volume another name.",
        judge: None,
    },
    Rule {
        code: code::RESOURCES,
        name: "sidecar-resources",
        summary: "the sidecar's request and limit contradict each other",
        why: "The API server refuses a pod in which a request is above its limit. And a pod whose containers all have equal \
              requests and limits is Guaranteed; a sidecar with unequal ones makes it Burstable, which is \
              evicted earlier.",
        symptoms: &[
            At::Apply.shows(
                "`resources.requests: Invalid value: ... must be less than or equal to memory \
                 limit`",
            ),
            At::Kubernetes.shows("or `qosClass: Burstable`, where it was `Guaranteed`"),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/sidecar-memory-request: 256Mi
    lasthop.dev/sidecar-memory-limit: 128Mi",
        cure: "Write one of the two; the other follows.",
        judge: None,
    },
    Rule {
        code: code::PRIVILEGED_PORT,
        name: "privileged-port",
        summary: "the sidecar is to listen below 1024, and it is not root",
        why: "Most container runtimes let everybody bind low ports in a pod (`net.ipv4.ip_unprivileged_port_start=0`), some do \
              not: there the sidecar ends with \"permission denied\".",
        symptoms: &[
            At::Sidecar.shows("\"Permission denied (os error 13)\" as it binds the port"),
            At::Kubernetes.shows("`CrashLoopBackOff` of the container `lasthop`"),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/ports: \"443:8080\"",
        cure: "\
# in the pod
lasthop.dev/ports: \"8443:8080\"
# in the Service
ports:
- port: 443
  targetPort: lasthop-8443",
        judge: None,
    },
    Rule {
        code: code::JOB,
        name: "job-never-ends",
        summary: "an ordinary container as sidecar keeps a Job from ending",
        why: "A Job is done when all of its containers are, and a sidecar never is. A native sidecar, an init container \
              that restarts, is ended by kubelet when the others are done; it takes Kubernetes 1.29.",
        symptoms: &[At::Kubernetes
            .shows("the Job stays at `0/1` completions, its pod at `1/2` in `NotReady`")],
        example: "\
kind: Job
spec:
  template:
    metadata:
      annotations:
        lasthop.dev/sidecar-native: \"false\"",
        cure: "Leave `sidecar-native` out, or run the Job without a sidecar.",
        judge: None,
    },
    Rule {
        code: code::SHAPE,
        name: "pod-shape",
        summary: "what should be a pod is none",
        why: "Without containers, or with a list of volumes that is no list, there is nothing to add a sidecar to. The API \
              server would refuse it as well.",
        symptoms: &[
            At::Apply.shows("`spec.containers: Required value`, or \"strict decoding error\"")
        ],
        example: "\
spec:
  containers: []",
        cure: "`kubectl explain pod.spec` shows the shape of a pod.",
        judge: None,
    },
    Rule {
        code: code::UNDECLARED_PORT,
        name: "undeclared-app-port",
        summary: "the sidecar forwards to a port that no container declares, where they declare others",
        why: "Nothing has to be declared, so the application may well listen there. Where it does not, every request ends in \
              502: a slip of the pen, or the two numbers the wrong way round (the sidecar's port stands first). A port at which a probe aims counts as declared.",
        symptoms: &[
            At::Sidecar.shows("answers 502, reason `connection_refused` in its log"),
            At::IngressNginx.shows("passes the 502 on"),
        ],
        example: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8081\"
spec:
  containers:
  - name: app
    ports:
    - containerPort: 8080",
        cure: "\
metadata:
  annotations:
    lasthop.dev/ports: \"8443:8080\"
# or, where the application does listen on 8081
ports:
- containerPort: 8081",
        judge: None,
    },
    Rule {
        code: code::MESH,
        name: "mesh-in-the-way",
        summary: "Istio's proxy takes what comes to the sidecar's ports",
        why: "Inside of a mesh every connection to the pod goes through Istio's proxy. Under a policy of `STRICT` it refuses \
              whoever is not of the mesh: kubelet, which asks the sidecar whether it is ready, and a load balancer. The pod never \
              gets ready, and `kubectl describe` shows a startup probe that fails. The sidecar ends TLS itself, so that \
              its ports need no proxy.",
        symptoms: &[
            At::Kubernetes.shows(
                "event `Unhealthy`, \"Startup probe failed\" with \"connection reset by peer\"",
            ),
            At::Istio.shows(
                "Envoy of the pod counts `filter_chain_not_found`; a balancer outside of the \
                 mesh gets \"Connection reset by peer\"",
            ),
        ],
        example: "\
metadata:
  labels:
    sidecar.istio.io/inject: \"true\"
  annotations:
    lasthop.dev/inject: \"true\"",
        cure: "\
metadata:
  annotations:
    traffic.sidecar.istio.io/excludeInboundPorts: \"8443,15443\"",
        judge: None,
    },
];
