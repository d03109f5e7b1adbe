# The site's init, run by bash as PID 1 of its new namespaces. Arguments: see `namespace.start`.
set -eu
lower=$1 top=$2 dir=$3 checkout=$4 cgroup=$5 hierarchies=$6 cache=$7 prefix=$8 settings_file=$9
read -r settings
mount --make-rprivate /
mkdir -p "$cache/uv"
if [ -n "$top" ]; then
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$top/upper,workdir=$top/work" "$dir/root"
else
  mount --bind "$dir/copy" "$dir/root"
fi
cd "$dir/root"
mkdir -p oldroot src scratch var/cache/uv etc/slurm
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
  name=${node%%:*} rest=${node#*:}
  mknod -m 666 "dev/$name" c "${rest%%:*}" "${rest##*:}"
done
mkdir -p dev/pts dev/shm run/lock run/devcluster
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin; ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr
mount --bind "$checkout" src
mount -o remount,bind,ro src
mount --bind "$dir/scratch" scratch
chmod 755 scratch
mount --bind "$cache/uv" var/cache/uv
if [ -n "$prefix" ]; then
  # A thin layer over the prefix, so that the site's configuration is found in its etc and the host's stays as it is.
  mkdir -p ".$prefix" run/prefix/upper run/prefix/work
  mount -t overlay overlay -o "lowerdir=$prefix,upperdir=run/prefix/upper,workdir=run/prefix/work" ".$prefix"
  mkdir -p ".$prefix/etc"
  mount --bind etc/slurm ".$prefix/etc"
fi
if [ "$cgroup" = v1 ]; then
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  for pair in $hierarchies; do
    name=${pair%%=*} controllers=${pair#*=}
    mkdir "sys/fs/cgroup/$name"
    mount -t cgroup -o "$controllers" cgroup "sys/fs/cgroup/$name"
    for c in ${controllers//,/ }; do [ -e "sys/fs/cgroup/$c" ] || ln -s "$name" "sys/fs/cgroup/$c"; done
  done
elif [ "$cgroup" = v2 ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
hostname localhost
printf '%s\n' "$settings" > ".$settings_file"
cp -L /etc/resolv.conf etc/resolv.conf 2>/dev/null || true
rm -f etc/ssl/host-ca.crt
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -r "$bundle" ]; then cp -L "$bundle" etc/ssl/host-ca.crt; fi
pivot_root . oldroot
umount -l /oldroot
exec /usr/bin/python3 -c '
import os, time
open("/run/devcluster/up", "w").close()
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        time.sleep(0.2)
' <>/dev/null >/run/devcluster/init.log 2>&1
