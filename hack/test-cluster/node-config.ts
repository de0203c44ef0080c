// The configuration files of a node: containerd, its network plugins, kubelet and kube-proxy.
import { stringify } from 'yaml';
import type { KeyPair } from './certificates.ts';
import type { Addresses } from './network.ts';
import { pauseImage } from './node-images.ts';

export interface NodePlace {
  readonly name: string;
  /** From 1. */
  readonly index: number;
  /** Everything of the node lies below it. */
  readonly folder: string;
  /** Below the root of every hierarchy. */
  readonly cgroup: string;
  readonly addresses: Addresses;
}

export const socketOf = ({ folder }: NodePlace): string => `${folder}/containerd.sock`;

export function containerdConfig(place: NodePlace): string {
  const { folder } = place;
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${folder}/containerd"
state = "/run/containerd"
# It would make a folder in /opt of the machine.
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "${socketOf(place)}"
[${cri}]
sandbox_image = "${pauseImage}"
# Lowering it takes a capability that containers of this machine may lack, and then no sandbox starts.
restrict_oom_score_adj = true
stream_server_port = "0"
[${cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${folder}/cni"
[${cri}.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[${cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[${cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
`;
}

export function networkPluginConfig({ addresses, index }: NodePlace): string {
  const bridge = {
    type: 'bridge',
    bridge: 'pods',
    isGateway: true,
    ipMasq: false,
    hairpinMode: true,
    ipam: { type: 'host-local', ranges: [[{ subnet: addresses.podRange(index) }]], routes: [{ dst: '0.0.0.0/0' }] },
  };
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [bridge, { type: 'portmap', capabilities: { portMappings: true } }],
  });
}

export function kubeletConfig(place: NodePlace, authorityCert: string, serving: KeyPair): string {
  const { folder, cgroup, addresses, index } = place;
  return stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: addresses.node(index),
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: authorityCert } },
    authorization: { mode: 'Webhook' },
    tlsCertFile: serving.cert,
    tlsPrivateKeyFile: serving.key,
    containerRuntimeEndpoint: `unix://${socketOf(place)}`,
    failCgroupV1: false,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroup,
    clusterDNS: [addresses.service(10)],
    clusterDomain: 'cluster.local',
    resolvConf: '',
    failSwapOn: false,
    oomScoreAdj: 0,
    // The disk is the machine's; what fills it is not ours to delete.
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    volumePluginDir: `${folder}/volume-plugins`,
    podLogsDir: `${folder}/pod-logs`,
  });
}

export function kubeProxyConfig({ name, addresses }: NodePlace, kubeconfig: string): string {
  return stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig },
    hostnameOverride: name,
    clusterCIDR: addresses.allPods,
    mode: 'nftables',
    oomScoreAdj: 0,
    // Limits of the machine, which are not a node's to set.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  });
}
