"""The attack arena: honest miners beside attackers, in virtual time, under the market's own rules."""
