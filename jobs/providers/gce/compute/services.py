"""The parts of the Compute API that are used, as Google's library names them."""

from __future__ import annotations

from collections.abc import Mapping

# Service -> the client's class, and its singular and plural in the names of the requests.
SERVICES: Mapping[str, tuple[str, str, str]] = {
    "addresses": ("AddressesClient", "Address", "Addresses"),
    "disks": ("DisksClient", "Disk", "Disks"),
    "firewalls": ("FirewallsClient", "Firewall", "Firewalls"),
    "global_operations": ("GlobalOperationsClient", "GlobalOperation", "GlobalOperations"),
    "images": ("ImagesClient", "Image", "Images"),
    "instances": ("InstancesClient", "Instance", "Instances"),
    "machine_types": ("MachineTypesClient", "MachineType", "MachineTypes"),
    "networks": ("NetworksClient", "Network", "Networks"),
    "projects": ("ProjectsClient", "Project", "Projects"),
    "region_operations": ("RegionOperationsClient", "RegionOperation", "RegionOperations"),
    "regions": ("RegionsClient", "Region", "Regions"),
    "resource_policies": ("ResourcePoliciesClient", "ResourcePolicy", "ResourcePolicies"),
    "routers": ("RoutersClient", "Router", "Routers"),
    "subnetworks": ("SubnetworksClient", "Subnetwork", "Subnetworks"),
    "zone_operations": ("ZoneOperationsClient", "ZoneOperation", "ZoneOperations"),
    "zones": ("ZonesClient", "Zone", "Zones"),
}
