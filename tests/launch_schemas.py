"""What our manifests may consist of: JSON schemas of the fields that we use, and no others.

Written from the public descriptions of JobSet (jobset.x-k8s.io/v1alpha2), Kubernetes' Job and
pod, and SkyPilot's task; a field that is misspelt or in the wrong place is refused.
"""


def _object(required: dict, optional: dict | None = None) -> dict:
  return {
    "type": "object",
    "properties": {**required, **(optional or {})},
    "required": list(required),
    "additionalProperties": False,
  }


def _list(of: dict) -> dict:
  return {"type": "array", "items": of, "minItems": 1}


_TEXT = {"type": "string", "minLength": 1}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}  # a DNS label
_COUNT = {"type": "integer", "minimum": 1}
_LABELS = {"type": "object", "additionalProperties": _TEXT}

_CONTAINER = _object(
  {
    "name": _NAME,
    "image": {"type": "string", "pattern": "^[^ ]+:[^ :/]+$"},
    "command": _list(_TEXT),
    "args": _list(_TEXT),
    "resources": _object(
      {
        "limits": {
          "type": "object",
          "propertyNames": {"enum": ["google.com/tpu", "nvidia.com/gpu"]},
          "additionalProperties": _COUNT,
          "minProperties": 1,
        }
      }
    ),
    "volumeMounts": _list(_object({"name": _NAME, "mountPath": {"pattern": "^/"}})),
  },
  {
    "env": _list(_object({"name": {"pattern": "^[A-Z][A-Z0-9_]*$"}, "value": {"type": "string"}})),
    "ports": _list(_object({"containerPort": {"type": "integer", "maximum": 65535}})),
  },
)
_POD = _object(
  {
    "restartPolicy": {"enum": ["Never"]},  # what podFailurePolicy asks for
    "terminationGracePeriodSeconds": {"type": "integer", "minimum": 60},
    "containers": _list(_CONTAINER),
    "nodeSelector": _LABELS,
    "volumes": _list(
      _object(
        {"name": _NAME},
        {
          "persistentVolumeClaim": _object({"claimName": _NAME}),
          "emptyDir": _object({"medium": {"enum": ["Memory"]}}),
        },
      )
    ),
  }
)
_EXIT_CODES = _object(
  {
    "containerName": _NAME,
    "operator": {"enum": ["In", "NotIn"]},
    "values": _list({"type": "integer", "minimum": 1}),
  }
)
_JOB = _object(
  {
    "parallelism": _COUNT,
    "completions": _COUNT,
    "completionMode": {"enum": ["Indexed"]},
    "backoffLimit": {"type": "integer", "minimum": 0},
    "template": _object({"spec": _POD}),
  },
  {
    "podFailurePolicy": _object(
      {"rules": _list(_object({"action": {"enum": ["FailJob"]}, "onExitCodes": _EXIT_CODES}))}
    )
  },
)
JOB_SET = _object(
  {
    "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
    "kind": {"const": "JobSet"},
    "metadata": _object({"name": _NAME}, {"annotations": _LABELS}),
    "spec": _object(
      {
        "replicatedJobs": _list(
          _object({"name": _NAME, "replicas": _COUNT, "template": _object({"spec": _JOB})})
        ),
        "failurePolicy": _object(
          {"maxRestarts": _COUNT},
          {
            "rules": _list(
              _object(
                {
                  "action": {"enum": ["FailJobSet"]},
                  "onJobFailureReasons": _list({"enum": ["PodFailurePolicy"]}),
                }
              )
            )
          },
        ),
      },
      {"network": _object({"enableDNSHostnames": {"type": "boolean"}})},
    ),
  }
)
SKY_TASK = _object(
  {
    "name": _NAME,
    "num_nodes": _COUNT,
    "workdir": _TEXT,
    "resources": _object(
      {
        "accelerators": {"type": "string", "pattern": "^[A-Za-z0-9-]+:[1-9][0-9]*$"},
        "use_spot": {"type": "boolean"},
      }
    ),
    "file_mounts": {
      "type": "object",
      "additionalProperties": _object(
        {"source": {"pattern": "^[a-z0-9]+://"}, "mode": {"enum": ["MOUNT", "MOUNT_CACHED"]}}
      ),
    },
    "setup": _TEXT,
    "run": _TEXT,
  }
)
