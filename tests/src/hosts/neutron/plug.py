# What Nova calls for an instance: os-vif makes the bridge of its network. Arguments: bridge, port, MAC, network, MTU.
import sys
import os_vif
from oslo_config import cfg
from os_vif.objects import instance_info, network, vif
import vif_plug_linux_bridge.linux_bridge  # noqa: F401
bridge, port, mac, net, mtu = sys.argv[1:]
cfg.CONF(['--config-file', '/srv/neutron/neutron.conf'], project='osvif')
os_vif.initialize()
its_network = network.Network(id=net, bridge=bridge, bridge_interface=None, mtu=int(mtu), should_provide_bridge=True,
                              should_provide_vlan=False, multi_host=False)
its_port = vif.VIFBridge(id=port, address=mac, network=its_network, plugin='linux_bridge', vif_name='tap' + port[:11],
                         bridge_name=bridge, has_traffic_filtering=True)
os_vif.plug(its_port, instance_info.InstanceInfo(uuid=port, name='vm'))
