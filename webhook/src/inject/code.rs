//! The codes of what is wrong with a request for a sidecar.

use lasthop_contract::problem::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code($number);)*
    };
}

codes! {
    /// An annotation under our prefix that nobody knows.
    UNKNOWN = 301;
    /// A value that cannot be read.
    VALUE = 302;
    /// An annotation that this version does not serve.
    UNSUPPORTED = 303;
    /// A required annotation is missing.
    REQUIRED = 304;
    /// A client CA without allowed clients.
    ALLOWED_CLIENTS = 305;
    /// Annotations that contradict each other, or do nothing together.
    CONFLICT = 306;
    /// A port behind an annotation that no listener has.
    LISTENER = 307;
    /// Annotations on a workload instead of its template.
    MISPLACED = 308;
    /// Annotations of a sidecar that nobody asks for.
    NOT_ASKED = 309;
    /// A namespace whose label does not switch injection on.
    UNLABELLED = 310;
    /// A namespace that requires a sidecar of all its pods.
    DEMANDED = 311;
    /// A public CA whose holders are not told apart.
    PUBLIC_CA = 312;
    /// The pod has the network of its node.
    HOST_NETWORK = 320;
    /// The pod is for Windows nodes.
    WINDOWS = 321;
    /// A port of the sidecar is taken.
    PORT_CLASH = 322;
    /// The app could look into the sidecar's memory.
    SHARED_PROCESSES = 323;
    /// A container of the user has the sidecar's name.
    CONTAINER_NAME = 324;
    /// The app's port is not known.
    APP_PORT = 325;
    /// A probe aims at a port of the sidecar.
    PROBE = 326;
    /// An image that the operator does not allow.
    IMAGE = 327;
    /// A volume of the user has a name of ours.
    VOLUME_NAME = 328;
    /// Requests and limits that contradict each other.
    RESOURCES = 329;
    /// A Service that leads past the sidecar.
    PLAINTEXT_SERVICE = 330;
    /// A port that only root may bind on some nodes.
    PRIVILEGED_PORT = 331;
    /// An ordinary container would keep a Job from ending.
    JOB = 332;
    /// Not the shape of a pod.
    SHAPE = 333;
    /// A Service that names a port of the sidecar which is none.
    SERVICE_PORT_NAME = 334;
    /// A Service that names a port of the sidecar where it cannot.
    SERVICE_PORT_UNSEEN = 335;
    /// A port of the node leads past the sidecar.
    HOST_PORT = 336;
    /// No volume holds the app's socket.
    APP_SOCKET = 337;
    /// A pod that opts out where injection is switched on.
    OPTED_OUT = 338;
    /// A pod that asks and that nobody can change.
    MIRROR_POD = 339;
    /// The namespace has no room for a container like the sidecar.
    LIMIT_RANGE = 340;
    /// The namespace has no room left for one more sidecar.
    QUOTA = 341;
    /// A port of the app that no container declares, where they declare others.
    UNDECLARED_PORT = 342;
    /// Istio's proxy takes connections of kubelet and of clients beyond the mesh.
    MESH = 343;
}
