"""Our rankers and the policy's own choice beside what a user would pick instead, on real logs."""
