"""What a batch script for bash finds in place of `srun` and `shifter`, which bring a command into the image at other sites.

It is in its image already, once on each node of its container. So `srun` runs its command, once; several tasks on a node are
refused, for there is no MPI between them, and so is whatever would be another image, or files of a site. bash reads the
functions by BASH_ENV (bash(1)), where the image has no `srun` and no BASH_ENV of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.jobs.script import interpreter

FUNCTIONS_NAME = ".cts-bash-env"  # in the input directory; no pattern of a shell matches it
_BASH = "BASH_ENV"

FUNCTIONS = """\
# srun and shifter of a batch script that is inside its image already.
type -P srun > /dev/null || srun() {
  local tasks= each
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift; break ;;
      -n | --ntasks) tasks=${2-}; shift ;;
      --ntasks=*) tasks=${1#*=} ;;
      --ntasks-per-node=* | --ntasks-per-node) ;;
      -n?*) tasks=${1#-n} ;;
      -o* | -e* | -i* | --output* | --error* | --input*)
        echo "srun: $1: files are written by > and read by < inside a container" >&2; return 1 ;;
      --multi-prog | --het-group* | --pty | --jobid* | -r* | --relative*)
        echo "srun: $1 is not there inside a container" >&2; return 1 ;;
      --exclusive | --exact | --overlap | --unbuffered | --label | --verbose | --quiet | --overcommit | --oversubscribe | \\
        --no-kill | --mpi | --contiguous | --spread-job | --use-min-nodes | -u | -l | -v | -Q | -O | -s | -k) ;;
      -K* | --kill-on-bad-exit*) ;;
      --*=*) ;;
      --*) shift ;;
      -?) shift ;;
      -?*) ;;
      *) break ;;
    esac
    [ $# -gt 0 ] && shift
  done
  each=$(( (${tasks:-${SLURM_NTASKS:-1}} + ${SLURM_NNODES:-1} - 1) / ${SLURM_NNODES:-1} )) || return 1
  if [ "$each" -gt 1 ]; then
    echo "srun: $each tasks on a node: a container starts its script once on each, and has no MPI; have srun -n 1, start several with & and wait, or make them tasks of an array (-a)" >&2
    return 1
  fi
  if [ $# -eq 0 ]; then
    echo "srun: no command" >&2
    return 1
  fi
  "$@"
}
type -P shifter > /dev/null || shifter() {
  local image=
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift; break ;;
      -i | --image) image=${2-}; shift ;;
      --image=*) image=${1#*=} ;;
      -i?*) image=${1#-i} ;;
      -V* | --volume*)
        echo "shifter: $1: a container sees no directories of the site; see --volume of ctsbatch" >&2; return 1 ;;
      -E | --clearenv | -v | --verbose) ;;
      -e | --env | -m | --module | -w | --workdir)
        echo "shifter: $1 is not there inside a container" >&2; return 1 ;;
      --module=gpu | --module=none) ;;
      -*)
        echo "shifter: $1 is not there inside a container" >&2; return 1 ;;
      *) break ;;
    esac
    [ $# -gt 0 ] && shift
  done
  image=${image#docker:}
  if [ -n "$image" ] && [ "$image" != "${SHIFTER_IMAGEREQUEST#docker:}" ]; then
    echo "shifter: a job has one image, ${SHIFTER_IMAGEREQUEST#docker:}; $image is another: make it a job of its own, behind this one (-d)" >&2
    return 1
  fi
  "$@"
}
"""


def has_functions(script: str | None, *variables: Mapping[str, object]) -> bool:
    """Whether a script is bash's, and neither its image nor its job has another use for BASH_ENV."""
    if script is None or any(_BASH in each for each in variables):
        return False
    words = " ".join(interpreter(script)).split()
    names = [word.rpartition("/")[2] for word in words[:2]]
    return names[0] == "bash" or names == ["env", "bash"]


def variables(mount: str, image: str) -> dict[str, str]:
    """Return the variables that go with the functions: where they are, and the image as the job names it."""
    return {_BASH: f"{mount}/{FUNCTIONS_NAME}", "SHIFTER_IMAGEREQUEST": f"docker:{image}"}
