"""The ports that every driver implements, and what each of them may raise.

A port hides how one hypervisor, storage, image store or console differs from another.

This is what `Storage` and `Hypervisor` promise. Calls take batches and yield results as they come:
each index of the batch appears in exactly one result, done or failed, and then the iterator ends.
A driver decides how to be fast inside a batch (threads, pipelining); the caller decides what goes
into one.

Every step is idempotent: it looks, acts, and looks again. Cloning a clone that already has
the same kin is done at once; destroying what does not exist is done at once. What exists
under the VM's name without our mark, or with the mark of another kin, is never touched: that
index fails with kind "conflict" (retry=False). For destroy, stop and undefine, which ask only
that nothing of this kin be left, such a one is not there: done, and it stays untouched.

Any call may raise DriverError, in the middle of an iteration too; then nothing is known of the
indices without a result. Whatever else is raised is a defect of the driver:
callers have the indices without a result fail with kind "internal", and go on (`ports.errors`).
Leave an iteration early only through contextlib.aclosing, so that its
end is not left to the garbage collector.

Cancelling the iteration is allowed at any point: what a driver's threads have begun they
finish, and a later call for the same index waits for it, so that no two acts on one VM overlap.
No call blocks the event loop. Deadlines are the caller's.
"""
